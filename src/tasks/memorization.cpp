#include "tasks/memorization.h"

#include "kernels/loss.h"
#include "tasks/distinct_ids.h"

namespace mara::tasks {

void MemorizationConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V, keys, values and the insert token", config::between(3, 1 << 20));
  f.field("length", length, "L, tokens per example, every second one a key", config::between(2, 1 << 24));
  f.require(length % 2 == 0, "length", detail::join({"must be even, got ", length}));
}

Memorization::Memorization(const Config& config, uint64_t seed) : Task(seed), config_(config) {
  const int32_t keys = static_cast<int32_t>((config.vocab - 1) / 2);
  PhiloxSequence random(seed, Purpose::task, ~uint64_t{0});  // no example has this index
  value_of_ = distinct_ids(random, keys, keys, static_cast<int32_t>(config.vocab - 1));
}

void Memorization::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  for (size_t t = 0; t < ids.size(); t += 2) {
    const uint32_t key = random.below(static_cast<uint32_t>(value_of_.size()));
    ids[t] = static_cast<int32_t>(key);
    ids[t + 1] = static_cast<int32_t>(config_.vocab - 1);
    targets[t] = kernels::kIgnoredTarget;
    targets[t + 1] = value_of_[key];
  }
}

}  // namespace mara::tasks
