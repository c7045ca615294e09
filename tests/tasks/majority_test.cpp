#include "tasks/majority.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

/// By how much the answer's count leads the next one's.
int64_t lead(const Example& e, int64_t symbols) {
  std::vector<int64_t> others;
  for (int32_t s = 0; s < symbols; ++s) {
    if (s != e.targets.back()) others.push_back(std::count(e.ids.begin(), e.ids.end(), s));
  }
  return std::count(e.ids.begin(), e.ids.end(), e.targets.back()) - *std::max_element(others.begin(), others.end());
}

TEST(Majority, TheAnswerLeadsByTheMargin) {
  for (const int64_t margin : {1, 3}) {
    const auto task = make("kind: majority, symbols: 4, length: 15, margin: " + std::to_string(margin), 1);
    EXPECT_EQ(task->form().length, 16);
    EXPECT_EQ(task->form().vocabulary, 5);
    int64_t least = 15;
    for (int64_t i = 0; i < 500; ++i) {
      const Example e = example(*task, i % 2 == 0 ? Split::train : Split::test, i);
      EXPECT_EQ(e.ids.back(), 4);
      EXPECT_EQ(std::count(e.ids.begin(), e.ids.end(), 4), 1);
      EXPECT_EQ(std::count(e.targets.begin(), e.targets.end(), kernels::kIgnoredTarget), 15);
      least = std::min(least, lead(e, 4));
    }
    EXPECT_EQ(least, margin) << "no less, and no more than asked for";
  }
}

TEST(Majority, AnswersAndTokensAreUniform) {
  const auto task = make("kind: majority", 1);
  constexpr int kCount = 4000;
  std::vector<int> answers(10), first(10);
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, Split::train, i);
    ++answers[static_cast<size_t>(e.targets.back())];
    ++first[static_cast<size_t>(e.ids[0])];
  }
  for (const std::vector<int>& count : {answers, first}) {
    for (const int n : count) EXPECT_NEAR(n, kCount / 10, 5 * std::sqrt(kCount * 0.09));
  }
}

TEST(Majority, Errors) {
  EXPECT_EQ(error_of("kind: majority, symbols: 1"), "task.yaml:1: symbols: must be from 2 to 16777216, got 1");
  EXPECT_EQ(error_of("kind: majority, length: 0"), "task.yaml:1: length: must be from 1 to 16777216, got 0");
  EXPECT_EQ(error_of("kind: majority, margin: 0"), "task.yaml:1: margin: must be at least 1, got 0");
  EXPECT_EQ(error_of("kind: majority, margin: 33"), "task.yaml:1: margin: must be at most length = 32, got 33");
  EXPECT_EQ(error_of("kind: majority, margin: 30"),
            "majority: in none of 10000 draws a symbol is 30 ahead of all others; lower margin or symbols, or enlarge "
            "length");
  // Many symbols cost nothing but their ids.
  EXPECT_EQ(error_of("kind: majority, symbols: 16777216, length: 3").find("majority: in none of 10000 draws"), 0u);
}

}  // namespace
}  // namespace mara::tasks
