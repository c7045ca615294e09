#include "tasks/induction_heads.h"

#include <algorithm>
#include <vector>

namespace mara::tasks {

void InductionHeadsConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V, ordinary and two special tokens", config::between(4, 1 << 24));
  f.field("length", length, "tokens before the final copy prefix", config::between(3, 1 << 24));
  f.field("copy_length", copy_length, "c, tokens to copy", config::at_least(1));
  f.field("num_triggers", num_triggers, "earlier copy prefixes, at most", config::at_least(1));
  f.field("dense_loss", dense_loss, "train on every next token, not on the answer alone");
  f.require(length > copy_length + 1, "length",
            detail::join({"must be above copy_length + 1 = ", copy_length + 1, ", got ", length}));
  f.require(num_triggers < length, "num_triggers",
            detail::join({"must be below length = ", length, ", got ", num_triggers}));
}

void InductionHeads::draw(PhiloxSequence& random, Split split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const PromptVocabulary vocabulary{config_.vocab};
  const size_t length = static_cast<size_t>(config_.length), copied = static_cast<size_t>(config_.copy_length);
  for (size_t t = 0; t < length; ++t) {
    ids[t] = vocabulary.first_ordinary() + static_cast<int32_t>(random.below(vocabulary.ordinary()));
  }

  const bool one = config_.num_triggers > 1 && random.below(2) == 0;
  std::vector<size_t> triggers(one ? 1 : static_cast<size_t>(config_.num_triggers));
  for (size_t& trigger : triggers) trigger = random.below(static_cast<uint32_t>(length - 1 - copied));
  std::sort(triggers.begin(), triggers.end());

  const auto text_begin = ids.begin() + static_cast<std::ptrdiff_t>(triggers[0]) + 1;
  const std::vector<int32_t> text(text_begin, text_begin + static_cast<std::ptrdiff_t>(copied));
  size_t free_from = 0;
  for (const size_t trigger : triggers) {
    if (trigger < free_from) continue;
    ids[trigger] = vocabulary.prefix();
    std::copy(text.begin(), text.end(), ids.begin() + static_cast<std::ptrdiff_t>(trigger) + 1);
    free_from = trigger + copied + 1;
  }
  ids[length] = vocabulary.prefix();
  std::copy(text.begin(), text.end() - 1, ids.begin() + static_cast<std::ptrdiff_t>(length) + 1);

  const bool dense = config_.dense_loss && split == Split::train;
  next_token_targets(ids, text.back(), dense ? form().length : config_.copy_length, targets);
}

// The key is the copy prefix and what has been copied since, so all of a copy is equally far.
int64_t InductionHeads::distance(std::span<const int32_t> ids, int64_t) const {
  const int32_t prefix = PromptVocabulary{config_.vocab}.prefix();
  for (int64_t trigger = config_.length - 1; trigger >= 0; --trigger) {
    if (ids[static_cast<size_t>(trigger)] == prefix) return config_.length - trigger;
  }
  return 0;
}

}  // namespace mara::tasks
