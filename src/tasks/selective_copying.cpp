#include "tasks/selective_copying.h"

#include <algorithm>
#include <vector>

#include "kernels/loss.h"

namespace mara::tasks {

void SelectiveCopyingConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V, tokens to copy, the blank and the copy token", config::between(4, 1 << 24));
  f.field("length", length, "L, tokens per example", config::between(4, 1 << 24));
  f.field("num_tokens", num_tokens, "k, tokens to copy", config::between(1, 1 << 22));
  f.require(length > 2 * num_tokens + 1, "length",
            detail::join({"must be above 2 num_tokens + 1 = ", 2 * num_tokens + 1, ", got ", length}));
}

void SelectiveCopying::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const size_t tokens = static_cast<size_t>(config_.num_tokens), answers = ids.size() - tokens;
  std::vector<size_t> blanks(tokens);  // in front of each token
  for (size_t i = 2 * tokens + 1; i < ids.size(); ++i) ++blanks[random.below(static_cast<uint32_t>(tokens))];

  std::fill(ids.begin(), ids.end(), blank());
  std::fill(targets.begin(), targets.end(), kernels::kIgnoredTarget);
  size_t position = 0;
  for (size_t i = 0; i < tokens; ++i) {
    position += blanks[i];
    ids[position] = static_cast<int32_t>(random.below(static_cast<uint32_t>(config_.vocab - 2)));
    targets[answers + i] = ids[position++];
  }
  ids[position] = static_cast<int32_t>(config_.vocab - 1);
}

int64_t SelectiveCopying::distance(std::span<const int32_t> ids, int64_t position) const {
  int64_t before = position - (config_.length - config_.num_tokens);  // tokens of the text before the one asked for
  int64_t place = 0;
  while (ids[static_cast<size_t>(place)] == blank() || before-- > 0) ++place;
  return position - place;
}

}  // namespace mara::tasks
