#include "tasks/compression.h"

#include <gtest/gtest.h>

#include <set>

#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

TEST(Compression, TargetsAreTheInput) {
  const auto task = make("kind: compression, vocab: 6, length: 10", 1);
  std::set<int32_t> seen;
  for (int64_t i = 0; i < 100; ++i) {
    const Example e = example(*task, i % 2 == 0 ? Split::train : Split::test, i);
    EXPECT_EQ(e.targets, e.ids);
    EXPECT_EQ(e.ids.back(), 5);
    for (size_t t = 0; t + 1 < e.ids.size(); ++t) {
      ASSERT_TRUE(e.ids[t] >= 0 && e.ids[t] < 5);
      seen.insert(e.ids[t]);
    }
  }
  EXPECT_EQ(seen.size(), 5u);
}

}  // namespace
}  // namespace mara::tasks
