#include "tasks/copy.h"

#include <algorithm>

#include "tasks/prompt.h"

namespace mara::tasks {

void CopyConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V, tokens to copy and the separator", config::between(3, 1 << 24));
  f.field("length", length, "n, tokens to copy", config::between(1, 1 << 23));
}

void Copy::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const size_t n = static_cast<size_t>(config_.length);
  const std::span<int32_t> text = ids.first(n);
  for (int32_t& token : text) token = static_cast<int32_t>(random.below(static_cast<uint32_t>(config_.vocab - 1)));
  ids[n] = static_cast<int32_t>(config_.vocab - 1);
  std::copy(text.begin(), text.end() - 1, ids.begin() + static_cast<std::ptrdiff_t>(n) + 1);
  next_token_targets(ids, text.back(), config_.length, targets);
}

}  // namespace mara::tasks
