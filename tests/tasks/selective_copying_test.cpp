#include "tasks/selective_copying.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

TEST(SelectiveCopying, LayoutAndTargets) {
  const auto task = make("kind: selective_copying, vocab: 8, length: 12, num_tokens: 3", 1);
  EXPECT_EQ(task->form().length, 12);
  EXPECT_EQ(task->form().vocabulary, 8);
  for (int64_t i = 0; i < 200; ++i) {
    const Example e = example(*task, i % 2 == 0 ? Split::train : Split::test, i);
    EXPECT_LT(e.ids[7], 6) << "no blank follows the last token";
    EXPECT_EQ(e.ids[8], 7);
    for (size_t t = 9; t < 12; ++t) EXPECT_EQ(e.ids[t], 6);
    std::vector<int32_t> content;
    for (size_t t = 0; t < 8; ++t) {
      if (e.ids[t] != 6) content.push_back(e.ids[t]);
      EXPECT_TRUE(e.ids[t] >= 0 && e.ids[t] <= 6) << e.ids[t];
    }
    EXPECT_EQ(content, std::vector<int32_t>(e.targets.end() - 3, e.targets.end()));
    EXPECT_EQ(std::count(e.targets.begin(), e.targets.end() - 3, kernels::kIgnoredTarget), 9);
  }
}

TEST(SelectiveCopying, DistanceIsToTheTokenItself) {
  const auto task = make("kind: selective_copying, vocab: 8, length: 12, num_tokens: 3", 1);
  const std::vector<int32_t> ids = {6, 4, 6, 6, 1, 6, 6, 1, 7, 6, 6, 6};
  EXPECT_EQ(task->distance(ids, 9), 8);   // 4 at 1
  EXPECT_EQ(task->distance(ids, 10), 6);  // 1 at 4
  EXPECT_EQ(task->distance(ids, 11), 4);  // 1 at 7
}

// Five blanks in front of three tokens, each in front of any.
TEST(SelectiveCopying, BlanksAndTokensAreUniform) {
  const auto task = make("kind: selective_copying, vocab: 8, length: 12, num_tokens: 3", 1);
  constexpr int kCount = 5000;
  std::vector<int> blanks(3), squares(3), token(6);
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, Split::train, i);
    std::vector<int> before(3);
    size_t tokens = 0;
    for (size_t t = 0; t < 8; ++t)
      ++(e.ids[t] == 6 ? before[tokens] : token[static_cast<size_t>(e.ids[t])]), tokens += e.ids[t] != 6;
    for (size_t j = 0; j < 3; ++j) blanks[j] += before[j], squares[j] += before[j] * before[j];
  }
  for (const int n : blanks) EXPECT_NEAR(n, kCount * 5 / 3.0, 5 * std::sqrt(kCount * 10 / 9.0));
  for (const int n : squares) EXPECT_NEAR(n, kCount * (10 / 9.0 + 25 / 9.0), 0.06 * n) << "a binomial's variance";
  for (const int n : token) EXPECT_NEAR(n, kCount * 3 / 6.0, 5 * std::sqrt(kCount * 3 * 5 / 36.0));
}

TEST(SelectiveCopying, Errors) {
  EXPECT_EQ(error_of("kind: selective_copying, length: 33"),
            "task.yaml:1: length: must be above 2 num_tokens + 1 = 33, got 33");
  EXPECT_EQ(error_of("kind: selective_copying, length: 34"), "");
  EXPECT_EQ(error_of("kind: selective_copying, vocab: 3"), "task.yaml:1: vocab: must be from 4 to 16777216, got 3");
  EXPECT_EQ(error_of("kind: selective_copying, num_tokens: 0"),
            "task.yaml:1: num_tokens: must be from 1 to 4194304, got 0");
}

}  // namespace
}  // namespace mara::tasks
