#include "tasks/copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

TEST(Copy, LayoutAndTargets) {
  const auto task = make("kind: copy, vocab: 6, length: 7", 1);
  EXPECT_EQ(task->form().length, 14);
  EXPECT_EQ(task->form().vocabulary, 6);
  std::vector<int> count(5);
  constexpr int kCount = 500;
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, i % 2 == 0 ? Split::train : Split::test, i);
    EXPECT_EQ(e.ids[7], 5);
    for (size_t t = 0; t < 7; ++t) {
      ++count[static_cast<size_t>(e.ids[t])];
      EXPECT_EQ(e.targets[t], kernels::kIgnoredTarget);
      EXPECT_EQ(e.targets[7 + t], e.ids[t]);
      if (t < 6) {
        EXPECT_EQ(e.ids[8 + t], e.ids[t]);
      }
    }
  }
  for (const int n : count) EXPECT_NEAR(n, kCount * 7 / 5, 5 * std::sqrt(kCount * 7 * 0.16));
}

TEST(Copy, Errors) {
  EXPECT_EQ(error_of("kind: copy, vocab: 2"), "task.yaml:1: vocab: must be from 3 to 16777216, got 2");
  EXPECT_EQ(error_of("kind: copy, length: 0"), "task.yaml:1: length: must be from 1 to 8388608, got 0");
}

}  // namespace
}  // namespace mara::tasks
