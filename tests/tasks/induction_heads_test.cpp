#include "tasks/induction_heads.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

constexpr int32_t kPrefix = 19;

/// Positions of the copy prefix.
std::vector<size_t> prefixes(const Example& e) {
  std::vector<size_t> found;
  for (size_t t = 0; t < e.ids.size(); ++t) {
    if (e.ids[t] == kPrefix) found.push_back(t);
  }
  return found;
}

TEST(InductionHeads, LayoutAndTargets) {
  for (const size_t c : {1, 3}) {
    const auto task = make("kind: induction_heads, num_triggers: 4, copy_length: " + std::to_string(c), 1);
    EXPECT_EQ(task->form().length, 30 + static_cast<int64_t>(c));
    for (int64_t i = 0; i < 200; ++i) {
      const Split split = i % 2 == 0 ? Split::train : Split::valid;
      const Example e = example(*task, split, i);
      const std::vector<size_t> found = prefixes(e);
      ASSERT_GE(found.size(), 2u);
      ASSERT_LE(found.size(), 5u);
      EXPECT_EQ(found.back(), 30u);
      const auto text = e.ids.begin() + static_cast<std::ptrdiff_t>(found[0]) + 1;
      for (size_t j = 0; j + 1 < found.size(); ++j) {
        EXPECT_LT(found[j], 30 - 1 - c);
        EXPECT_GT(found[j + 1] - found[j], c);
        EXPECT_TRUE(std::equal(text, text + static_cast<std::ptrdiff_t>(c),
                               e.ids.begin() + static_cast<std::ptrdiff_t>(found[j]) + 1));
      }
      EXPECT_TRUE(std::equal(e.targets.end() - static_cast<std::ptrdiff_t>(c), e.targets.end(), text));
      for (size_t t = 0; t + 1 < e.ids.size(); ++t) {
        const bool scored = split == Split::train || t >= 30;
        EXPECT_EQ(e.targets[t], scored ? e.ids[t + 1] : kernels::kIgnoredTarget);
      }
    }
  }
}

TEST(InductionHeads, AnswerLossAlone) {
  const Example e = example(*make("kind: induction_heads, dense_loss: false", 1), Split::train, 0);
  EXPECT_EQ(std::count(e.targets.begin(), e.targets.end(), kernels::kIgnoredTarget), 30);
  EXPECT_NE(e.targets.back(), kernels::kIgnoredTarget);
}

TEST(InductionHeads, DrawsAreUniform) {
  const auto task = make("kind: induction_heads", 1);
  constexpr int kCount = 8000;
  std::vector<int> answer(20), place(30);
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, Split::train, i);
    ++answer[static_cast<size_t>(e.targets.back())];
    ++place[prefixes(e)[0]];
  }
  for (size_t id = 1; id <= 18; ++id) EXPECT_NEAR(answer[id], kCount / 18.0, 5 * std::sqrt(kCount / 18.0));
  for (size_t t = 0; t < 28; ++t) EXPECT_NEAR(place[t], kCount / 28.0, 5 * std::sqrt(kCount / 28.0));
  EXPECT_EQ(place[28] + place[29], 0);
}

TEST(InductionHeads, HalfOfTheExamplesHaveOneTrigger) {
  const auto task = make("kind: induction_heads, length: 3000, num_triggers: 3", 1);  // so long that few are dropped
  int one = 0;
  for (int64_t i = 0; i < 500; ++i) one += prefixes(example(*task, Split::train, i)).size() == 2;
  EXPECT_NEAR(one, 250, 5 * std::sqrt(500 * 0.25));
}

TEST(InductionHeads, Errors) {
  EXPECT_EQ(error_of("kind: induction_heads, vocab: 3"), "task.yaml:1: vocab: must be from 4 to 16777216, got 3");
  EXPECT_EQ(error_of("kind: induction_heads, length: 2"), "task.yaml:1: length: must be from 3 to 16777216, got 2");
  EXPECT_EQ(error_of("kind: induction_heads, copy_length: 0"), "task.yaml:1: copy_length: must be at least 1, got 0");
  EXPECT_EQ(error_of("kind: induction_heads, num_triggers: 0"), "task.yaml:1: num_triggers: must be at least 1, got 0");
  EXPECT_EQ(error_of("kind: induction_heads, length: 4, copy_length: 3"),
            "task.yaml:1: length: must be above copy_length + 1 = 4, got 4");
  EXPECT_EQ(error_of("kind: induction_heads, num_triggers: 30"),
            "task.yaml:1: num_triggers: must be below length = 30, got 30");
  EXPECT_EQ(error_of("kind: induction_heads, length: 5, copy_length: 3"), "");
}

}  // namespace
}  // namespace mara::tasks
