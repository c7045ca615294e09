#include "tasks/distinct_ids.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace mara::tasks {
namespace {

TEST(DistinctIds, EveryOrderIsAsLikely) {
  constexpr int kCount = 6000;
  std::map<std::vector<int32_t>, int> seen;
  for (uint64_t i = 0; i < kCount; ++i) {
    PhiloxSequence random(1, Purpose::task, i);
    ++seen[distinct_ids(random, 3, 5, 8)];
  }
  ASSERT_EQ(seen.size(), 6u);
  for (const auto& [ids, count] : seen) {
    EXPECT_TRUE(std::is_permutation(ids.begin(), ids.end(), std::vector{5, 6, 7}.begin()));
    EXPECT_NEAR(count, kCount / 6, 5 * std::sqrt(kCount * 5.0 / 36));
  }
}

}  // namespace
}  // namespace mara::tasks
