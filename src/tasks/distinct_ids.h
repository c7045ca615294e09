#pragma once

#include <cstdint>
#include <vector>

#include "kernels/common/philox.h"

namespace mara::tasks {

/// `count` distinct ids of [first, end), uniformly and in random order. An id that was taken before is drawn again:
/// about n ln n draws for all n ids, `count` of them for a few.
std::vector<int32_t> distinct_ids(PhiloxSequence& random, int64_t count, int32_t first, int32_t end);

}  // namespace mara::tasks
