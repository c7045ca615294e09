#include "tasks/arithmetic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

int64_t number(const std::vector<int32_t>& digits, size_t first, size_t count) {
  int64_t out = 0;
  for (size_t i = first; i < first + count; ++i) {
    EXPECT_TRUE(digits[i] >= 0 && digits[i] <= 9) << digits[i];
    out = 10 * out + digits[i];
  }
  return out;
}

TEST(Arithmetic, LayoutAndSum) {
  for (const size_t digits : {1, 2, 4}) {
    for (const size_t separator : {0, 1}) {
      const auto task = make(
          "kind: arithmetic, digits: " + std::to_string(digits) + ", separator: " + (separator == 1 ? "true" : "false"),
          1);
      EXPECT_EQ(task->form().vocabulary, 13);
      ASSERT_EQ(task->form().length, static_cast<int64_t>(3 * digits + 1 + separator));
      std::set<int64_t> carries;
      for (int64_t i = 0; i < 200; ++i) {
        const Example e = example(*task, i % 2 == 0 ? Split::train : Split::valid, i);
        const size_t second = digits + separator, equals = second + digits;
        if (separator == 1) {
          EXPECT_EQ(e.ids[digits], 10);
        }
        EXPECT_EQ(e.ids[equals], 11);
        const int64_t sum = number(e.ids, 0, digits) + number(e.ids, second, digits);
        EXPECT_EQ(number(e.targets, equals, digits + 1), sum);
        carries.insert(e.targets[equals]);
        for (size_t t = 0; t < equals; ++t) EXPECT_EQ(e.targets[t], kernels::kIgnoredTarget);
        for (size_t t = equals + 1; t < e.ids.size(); ++t) EXPECT_EQ(e.ids[t], e.targets[t - 1]) << "teacher forcing";
      }
      EXPECT_EQ(carries, (std::set<int64_t>{0, 1}));
    }
  }
}

TEST(Arithmetic, OperandsAreUniformAndKeptApart) {
  const auto task = make("kind: arithmetic", 1);
  std::set<std::vector<int32_t>> train, valid;
  std::vector<int> first(10);
  constexpr int kCount = 4000;
  for (int64_t i = 0; i < kCount; ++i) {
    const auto operands = [](const Example& e) { return std::vector<int32_t>(e.ids.begin(), e.ids.begin() + 5); };
    const Example e = example(*task, Split::train, i);
    ++first[static_cast<size_t>(e.ids[0])];
    train.insert(operands(e));
    valid.insert(operands(example(*task, Split::valid, i)));
  }
  for (const int n : first) EXPECT_NEAR(n, kCount / 10, 5 * std::sqrt(kCount * 0.09) + 60) << "75 % of the pairs";
  EXPECT_GT(valid.size(), 1000u);  // of about 10,000 / 8
  EXPECT_LT(valid.size(), 1400u);
  for (const auto& pair : valid) EXPECT_FALSE(train.contains(pair));
}

TEST(Arithmetic, Errors) {
  EXPECT_EQ(error_of("kind: arithmetic, digits: 0"), "task.yaml:1: digits: must be from 1 to 1048576, got 0");
}

}  // namespace
}  // namespace mara::tasks
