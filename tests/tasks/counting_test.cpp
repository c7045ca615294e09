#include "tasks/counting.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

/// How many of `count` training examples have each answer, which is checked.
std::vector<int> answers(const Task& task, int64_t symbols, int count) {
  std::vector<int> seen(static_cast<size_t>(task.form().length) + 1);
  for (int64_t i = 0; i < count; ++i) {
    const Example e = example(task, Split::train, i);
    const auto same = std::count(e.ids.begin(), e.ids.end(), e.ids.back());
    EXPECT_EQ(e.targets.back(), symbols + same);
    EXPECT_EQ(std::count(e.targets.begin(), e.targets.end(), kernels::kIgnoredTarget), task.form().length - 1);
    EXPECT_LT(*std::max_element(e.ids.begin(), e.ids.end()), symbols);
    ++seen[static_cast<size_t>(same)];
  }
  return seen;
}

TEST(Counting, CountsAreBinomialWhereNoneIsTooFrequent) {
  const auto task = make("kind: counting", 1);
  EXPECT_EQ(task->form().length, 16);
  EXPECT_EQ(task->form().vocabulary, 4 + 17);
  constexpr int kCount = 8000;
  const std::vector<int> seen = answers(*task, 4, kCount);
  double p = std::pow(0.75, 15);  // of c - 1 = 0 equal tokens among 15
  for (int c = 1; c <= 10; ++c) {
    EXPECT_NEAR(seen[static_cast<size_t>(c)], kCount * p, 5 * std::sqrt(kCount * p * (1 - p))) << c;
    p *= (16.0 - c) / c / 3;
  }
}

TEST(Counting, FrequentCountsAreThinnedOut) {
  // Of 8 tokens of 3 symbols, p = 128, 448, 672, 560, 280, 84, 14, 1 of 2187: counts 2, 3 and 4 exceed 24 %. Cut to t,
  // t = 0.24 (3 t + 507/2187), they are 24 % each, and the rest shares 28 % as before.
  const auto task = make("kind: counting, symbols: 3, length: 8", 1);
  constexpr int kCount = 8000;
  const std::vector<int> seen = answers(*task, 3, kCount);
  const double p[] = {0, 128, 448, 672, 560, 280, 84, 14, 1};
  for (size_t c = 1; c <= 8; ++c) {
    const double share = c >= 2 && c <= 4 ? 0.24 : 0.28 * p[c] / 507;
    EXPECT_NEAR(seen[c], kCount * share, 5 * std::sqrt(kCount * share * (1 - share)) + 1) << c;
  }
}

TEST(Counting, PlacesAndOtherSymbolsAreUniform) {
  const auto task = make("kind: counting, symbols: 3, length: 8", 2);
  std::vector<int> same(7), symbol(3), other(2);
  constexpr int kCount = 8000;
  int all_same = 0, all_other = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, Split::train, i);
    ++symbol[static_cast<size_t>(e.ids.back())];
    for (size_t t = 0; t < 7; ++t) {
      const int32_t step = (e.ids[t] - e.ids.back() + 3) % 3;
      (step == 0 ? ++same[t], ++all_same : (++other[static_cast<size_t>(step - 1)], ++all_other));
    }
  }
  for (const int n : same) EXPECT_NEAR(n, all_same / 7.0, 5 * std::sqrt(all_same / 7.0));
  for (const int n : symbol) EXPECT_NEAR(n, kCount / 3.0, 5 * std::sqrt(kCount * 2 / 9.0));
  for (const int n : other) EXPECT_NEAR(n, all_other / 2.0, 5 * std::sqrt(all_other / 4.0));
}

TEST(Counting, ExtremeSizesStillBalance) {
  for (const std::string options : {"symbols: 1000000, length: 5", "symbols: 2, length: 20000"}) {
    const auto task = make("kind: counting, " + options, 1);
    std::vector<int64_t> seen;
    for (int64_t i = 0; i < 200; ++i) seen.push_back(example(*task, Split::train, i).targets.back());
    std::sort(seen.begin(), seen.end());
    int most = 0;
    for (const int64_t s : seen) most = std::max(most, static_cast<int>(std::count(seen.begin(), seen.end(), s)));
    EXPECT_LT(most, 80) << "24 % of 200 are 48";
  }
}

TEST(Counting, Errors) {
  EXPECT_EQ(error_of("kind: counting, symbols: 1"), "task.yaml:1: symbols: must be from 2 to 1048576, got 1");
  EXPECT_EQ(error_of("kind: counting, length: 4"), "task.yaml:1: length: must be from 5 to 1048576, got 4");
}

}  // namespace
}  // namespace mara::tasks
