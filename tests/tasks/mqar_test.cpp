#include "tasks/mqar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

TEST(Mqar, LayoutAndTargets) {
  for (const size_t passes : {1, 2}) {
    const auto task = make("kind: mqar, vocab: 65, length: 64, num_passes: " + std::to_string(passes), 1);
    EXPECT_EQ(task->form().length, 64);
    for (int64_t i = 0; i < 300; ++i) {
      const Example e = example(*task, i % 2 == 0 ? Split::train : Split::test, i);
      std::map<int32_t, int32_t> map;
      std::set<int32_t> values;
      for (size_t t = 0; t < 8; t += 2) {
        EXPECT_TRUE(e.ids[t] >= 1 && e.ids[t] < 32);
        EXPECT_TRUE(e.ids[t + 1] >= 32 && e.ids[t + 1] < 65);
        map[e.ids[t]] = e.ids[t + 1];
        values.insert(e.ids[t + 1]);
      }
      EXPECT_EQ(map.size(), 4u);
      EXPECT_EQ(values.size(), 4u);
      const size_t context = 8 * passes;
      for (size_t t = 8; t < context; ++t) EXPECT_EQ(e.ids[t], e.ids[t - 8]);

      std::set<int32_t> asked;
      for (size_t t = 0; t < 64; ++t) {
        if (e.targets[t] == kernels::kIgnoredTarget) continue;
        EXPECT_TRUE(t >= context && t % 2 == 0);
        EXPECT_EQ(e.targets[t], map.at(e.ids[t]));
        asked.insert(e.ids[t]);
      }
      EXPECT_EQ(asked.size(), 4u);  // every key once
      EXPECT_EQ(std::count(e.targets.begin(), e.targets.end(), kernels::kIgnoredTarget), 60);
    }
  }
}

TEST(Mqar, FillerIsBlankOrUniform) {
  const auto blank = make("kind: mqar, vocab: 65, random_non_queries: false", 1),
             random = make("kind: mqar, vocab: 65", 1);
  std::vector<int> count(65);
  int fillers = 0;
  for (int64_t i = 0; i < 300; ++i) {
    const Example b = example(*blank, Split::train, i), r = example(*random, Split::train, i);
    for (size_t t = 8; t < 64; ++t) {
      if (b.targets[t] == kernels::kIgnoredTarget) {
        EXPECT_EQ(b.ids[t], 0);
      }
      if (r.targets[t] == kernels::kIgnoredTarget) {
        ++count[static_cast<size_t>(r.ids[t])];
        ++fillers;
      }
    }
  }
  for (const int n : count) EXPECT_NEAR(n, fillers / 65.0, 5 * std::sqrt(fillers / 65.0));
}

TEST(Mqar, KeysAndValuesAreUniform) {
  const auto task = make("kind: mqar, vocab: 34, length: 32", 1);  // 16 keys, 17 values
  constexpr int kCount = 4000;
  std::vector<int> count(34);
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, Split::train, i);
    for (size_t t : {2, 3}) ++count[static_cast<size_t>(e.ids[t])];  // the second pair
  }
  EXPECT_EQ(count[0], 0);
  for (size_t id = 1; id < 17; ++id) EXPECT_NEAR(count[id], kCount / 16.0, 5 * std::sqrt(kCount / 16.0));
  for (size_t id = 17; id < 34; ++id) EXPECT_NEAR(count[id], kCount / 17.0, 5 * std::sqrt(kCount / 17.0));
}

/// How often the first pair's query, the first one drawn, stands in each slot.
std::vector<int> slots_of_first_key(const std::string& power, int count) {
  const auto task =
      make("kind: mqar, length: 48, vocab: 64, num_pairs: 4, random_non_queries: false, power_a: " + power, 1);
  std::vector<int> slots(20);
  for (int64_t i = 0; i < count; ++i) {
    const Example e = example(*task, Split::train, i);
    for (size_t t = 8; t < 48; t += 2) {
      if (e.ids[t] == e.ids[0]) ++slots[(t - 8) / 2];
    }
  }
  return slots;
}

TEST(Mqar, SlotsFollowThePowerLaw) {
  constexpr int kCount = 6000;
  for (const double a : {0.01, 1.0}) {
    double sum = 0;
    for (int i = 1; i <= 20; ++i) sum += std::pow(i, a - 1);
    const std::vector<int> slots = slots_of_first_key(std::to_string(a), kCount);
    for (int i = 1; i <= 20; ++i) {
      const double p = std::pow(i, a - 1) / sum;
      EXPECT_NEAR(slots[static_cast<size_t>(i - 1)], kCount * p, 5 * std::sqrt(kCount * p * (1 - p))) << a << " " << i;
    }
  }
}

TEST(Mqar, LaterQueriesAvoidTheSlotsTaken) {
  // Two slots and one pair left out of it: with n = S every slot is taken, so every second token is scored.
  const Example e = example(*make("kind: mqar, length: 16, vocab: 64, num_pairs: 4", 1), Split::train, 0);
  for (size_t t = 8; t < 16; ++t) EXPECT_EQ(e.targets[t] != kernels::kIgnoredTarget, t % 2 == 0);
}

TEST(Mqar, Errors) {
  EXPECT_EQ(error_of("kind: mqar, length: 63"), "task.yaml:1: length: must be even, got 63");
  EXPECT_EQ(error_of("kind: mqar, length: 64, vocab: 64"), "task.yaml:1: vocab: must be above length = 64, got 64");
  EXPECT_EQ(error_of("kind: mqar, length: 64, num_pairs: 17"),
            "task.yaml:1: num_pairs: must be at most length / (2 (num_passes + 1)) = 16, got 17");
  EXPECT_EQ(error_of("kind: mqar, length: 64, num_pairs: 16"), "");
  EXPECT_EQ(error_of("kind: mqar, length: 64, num_pairs: 8, num_passes: 4"),
            "task.yaml:1: num_pairs: must be at most length / (2 (num_passes + 1)) = 6, got 8");
  EXPECT_EQ(error_of("kind: mqar, num_pairs: 0"), "task.yaml:1: num_pairs: must be at least 1, got 0");
  EXPECT_EQ(error_of("kind: mqar, power_a: 0"), "task.yaml:1: power_a: must be above 0, got 0");
  EXPECT_EQ(error_of("kind: mqar, num_passes: 0"), "task.yaml:1: num_passes: must be from 1 to 1048576, got 0");
  EXPECT_EQ(error_of("kind: mqar, vocab: 3"), "task.yaml:1: vocab: must be from 4 to 16777216, got 3");
  EXPECT_EQ(error_of("kind: mqar, length: 2"), "task.yaml:1: length: must be from 4 to 8388608, got 2");
}

}  // namespace
}  // namespace mara::tasks
