#include "tasks/distinct_ids.h"

#include <cstddef>

namespace mara::tasks {

std::vector<int32_t> distinct_ids(PhiloxSequence& random, int64_t count, int32_t first, int32_t end) {
  std::vector<bool> taken(static_cast<size_t>(end - first));
  std::vector<int32_t> ids;
  while (static_cast<int64_t>(ids.size()) < count) {
    const uint32_t offset = random.below(static_cast<uint32_t>(end - first));
    if (taken[offset]) continue;
    taken[offset] = true;
    ids.push_back(first + static_cast<int32_t>(offset));
  }
  return ids;
}

}  // namespace mara::tasks
