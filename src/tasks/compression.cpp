#include "tasks/compression.h"

#include <algorithm>

namespace mara::tasks {

void CompressionConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V, ordinary tokens and the compression token", config::between(3, 1 << 24));
  f.field("length", length, "L, tokens per example, the compression token included", config::between(2, 1 << 24));
}

void Compression::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const uint32_t ordinary = static_cast<uint32_t>(config_.vocab - 1);
  for (int32_t& id : ids) id = static_cast<int32_t>(random.below(ordinary));
  ids.back() = static_cast<int32_t>(ordinary);
  std::copy(ids.begin(), ids.end(), targets.begin());
}

}  // namespace mara::tasks
