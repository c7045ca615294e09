#include "tasks/example_order.h"

#include "kernels/common/permutation.h"

namespace mara::tasks {

int64_t example_at(uint64_t seed, int64_t position, int64_t examples) {
  if (examples == 0) return position;
  const uint64_t at = static_cast<uint64_t>(position), count = static_cast<uint64_t>(examples);
  return static_cast<int64_t>(permuted(philox::key(seed, Purpose::order), at / count, at % count, count));
}

}  // namespace mara::tasks
