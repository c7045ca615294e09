#include "tasks/in_context_functions.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

TEST(InContextFunctions, ShowsTheValuesOfALinearFunction) {
  const auto task = make("kind: in_context_functions, dimension: 3, pairs: 4", 1);
  EXPECT_EQ(task->form().length, 9);
  EXPECT_EQ(task->form().features, 4);
  for (const Split split : {Split::train, Split::test}) {
    for (int64_t example_number = 0; example_number < 20; ++example_number) {
      const Example e = example(*task, split, example_number);
      EXPECT_TRUE(e.ids.empty());
      for (size_t t = 0; t < 9; ++t) {
        const float* at = &e.inputs[4 * t];
        if (t % 2 == 0) {
          EXPECT_EQ(e.targets[t], 0);
          EXPECT_EQ(at[3], 0);
          if (t < 8) {
            EXPECT_EQ(at[7], e.values[t]);  // shown at the next position
          }
        } else {
          EXPECT_EQ(e.targets[t], kernels::kIgnoredTarget);
          EXPECT_TRUE(at[0] == 0 && at[1] == 0 && at[2] == 0);
        }
      }
      // Four vectors of three dimensions depend on each other, and so must their values: Cramer's rule.
      const auto determinant = [&](size_t a, size_t b, size_t c) {
        const float *x = &e.inputs[8 * a], *y = &e.inputs[8 * b], *z = &e.inputs[8 * c];
        return x[0] * (y[1] * z[2] - y[2] * z[1]) - x[1] * (y[0] * z[2] - y[2] * z[0]) +
               x[2] * (y[0] * z[1] - y[1] * z[0]);
      };
      const double residual = e.values[0] * determinant(1, 2, 3) - e.values[2] * determinant(0, 2, 3) +
                              e.values[4] * determinant(0, 1, 3) - e.values[6] * determinant(0, 1, 2);
      EXPECT_NEAR(residual, 0, 1e-4);
    }
  }
}

TEST(InContextFunctions, ReferenceIsLeastSquares) {
  const int64_t p = 4, pairs = 6, count = 4000;
  const auto task = make("kind: in_context_functions, dimension: 4, pairs: 6", 1);
  std::vector<double> error(static_cast<size_t>(pairs) + 1), variance(error.size());
  for (int64_t i = 0; i < count; ++i) {
    Rows rows(1, task->form());
    task->example(Split::test, i, rows[0]);
    std::vector<float> estimates(rows.values.size());
    task->reference(rows[0], estimates);
    for (size_t k = 0; k < error.size(); ++k) {
      error[k] += std::pow(estimates[2 * k] - rows.values[2 * k], 2) / static_cast<double>(count);
      variance[k] += std::pow(rows.values[2 * k], 2) / static_cast<double>(count);
    }
  }
  for (size_t k = 0; k < error.size(); ++k) {
    EXPECT_NEAR(variance[k], 1, 0.12) << k;  // normalised by p: answering 0 costs 1
    const double expected = std::max(0.0, 1 - static_cast<double>(k) / static_cast<double>(p));
    EXPECT_NEAR(error[k], expected, 0.12) << k;
    if (k >= 4) {
      EXPECT_LT(error[k], 1e-5) << k;
    }
  }
}

TEST(InContextFunctions, IsAPureFunctionAndSplitsAreDisjoint) {
  const auto task = make("kind: in_context_functions", 3), same = make("kind: in_context_functions", 3);
  EXPECT_EQ(example(*task, Split::valid, 7), example(*same, Split::valid, 7));
  EXPECT_NE(example(*task, Split::valid, 7).inputs, example(*task, Split::test, 7).inputs);
  EXPECT_NE(example(*task, Split::valid, 7).inputs, example(*task, Split::valid, 8).inputs);
  for (int64_t i = 0; i < 50; ++i) {
    for (const Split split : {Split::train, Split::valid, Split::test}) {
      Rows rows(1, task->form());
      task->example(split, i, rows[0]);
      EXPECT_EQ(split_of(rows[0]), split);
    }
  }
}

}  // namespace
}  // namespace mara::tasks
