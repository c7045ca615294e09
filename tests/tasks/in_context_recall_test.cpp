#include "tasks/in_context_recall.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

/// The targets of valid and test that an example's tokens and its last value demand; K keys, N keys and values.
std::vector<int32_t> answers(const Example& e, int32_t keys, int32_t pair_ids) {
  std::map<int32_t, int32_t> map;
  std::vector<int32_t> targets(e.ids.size(), kernels::kIgnoredTarget);
  for (size_t t = 0; t < e.ids.size(); t += 2) {
    const bool last = t + 1 == e.ids.size();
    if (e.ids[t] >= pair_ids) {
      EXPECT_TRUE(!last && e.ids[t + 1] >= pair_ids) << "noise comes in pairs";
      continue;
    }
    EXPECT_LT(e.ids[t], keys);
    const int32_t value = last ? e.targets.back() : e.ids[t + 1];
    EXPECT_TRUE(value >= keys && value < pair_ids) << value;
    const auto [entry, is_new] = map.try_emplace(e.ids[t], value);
    EXPECT_EQ(entry->second, value);
    EXPECT_FALSE(last && is_new) << "the last key was shown";
    if (!is_new) targets[t] = value;
  }
  return targets;
}

TEST(InContextRecall, LayoutAndTargets) {
  for (const bool noisy : {false, true}) {
    const auto task = make(
        noisy ? "kind: in_context_recall, vocab: 32, noise_vocab: 16, noise_fraction: 0.2" : "kind: in_context_recall",
        1);
    EXPECT_EQ(task->form().length, 127);
    EXPECT_EQ(task->form().vocabulary, noisy ? 32 : 16);
    for (int64_t i = 0; i < 200; ++i) {
      const Example train = example(*task, Split::train, i), test = example(*task, Split::test, i);
      answers(train, 8, 16);
      for (size_t t = 0; t + 1 < train.ids.size(); ++t) EXPECT_EQ(train.targets[t], train.ids[t + 1]);
      EXPECT_EQ(test.targets, answers(test, 8, 16));
    }
  }
}

TEST(InContextRecall, DrawsAreUniform) {
  const auto task = make("kind: in_context_recall, vocab: 11, length: 8", 1);  // 5 keys, 6 values
  constexpr int kCount = 6000;
  std::vector<int> keys(5), values(11), asked(2);
  int distinct = 0, shared = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, Split::train, i);
    ++keys[static_cast<size_t>(e.ids[0])];
    ++values[static_cast<size_t>(e.ids[1])];
    if (e.ids[0] == e.ids[2] || e.ids[0] == e.ids[4] || e.ids[2] == e.ids[4]) continue;
    ++distinct;
    shared += e.ids[1] == e.ids[3];
    ++asked[e.ids[6] == e.ids[0]];
  }
  for (const int n : keys) EXPECT_NEAR(n, kCount / 5.0, 5 * std::sqrt(kCount * 4 / 25.0));
  for (size_t v = 5; v < 11; ++v) EXPECT_NEAR(values[v], kCount / 6.0, 5 * std::sqrt(kCount * 5 / 36.0));
  EXPECT_NEAR(distinct, kCount * 12 / 25.0, 5 * std::sqrt(kCount * 12 * 13 / 625.0));
  EXPECT_NEAR(shared, distinct / 6.0, 5 * std::sqrt(distinct * 5 / 36.0)) << "keys may share a value";
  EXPECT_NEAR(asked[1], distinct / 3.0, 5 * std::sqrt(distinct * 2 / 9.0));
}

TEST(InContextRecall, NoiseReplacesItsShareOfPairs) {
  const auto task = make("kind: in_context_recall, vocab: 24, length: 32, noise_vocab: 8, noise_fraction: 0.4", 1);
  constexpr int kCount = 2000;
  std::vector<int> noise(24), slot(15);
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, Split::train, i);
    for (size_t t = 0; t < 30; ++t) {
      if (e.ids[t] < 16) continue;
      ++noise[static_cast<size_t>(e.ids[t])];
      slot[t / 2] += t % 2 == 0;
    }
    EXPECT_LT(e.ids[30], 8);
  }
  const double p = 0.4 * 14 / 15;  // one slot is spared, any
  for (const int n : slot) EXPECT_NEAR(n, kCount * p, 5 * std::sqrt(kCount * p * (1 - p)));
  for (size_t id = 16; id < 24; ++id) {
    EXPECT_NEAR(noise[id], kCount * 30 * p / 8, 5 * std::sqrt(kCount * 30 * p / 8));
  }
}

TEST(InContextRecall, NothingButNoiseSparesAPair) {
  const auto task = make("kind: in_context_recall, vocab: 24, length: 16, noise_vocab: 8, noise_fraction: 1", 1);
  for (int64_t i = 0; i < 100; ++i) {
    const Example e = example(*task, Split::test, i);
    EXPECT_EQ(std::count_if(e.ids.begin(), e.ids.end() - 1, [](int32_t id) { return id < 8; }), 1);
    EXPECT_EQ(e.targets, answers(e, 8, 16));
  }
}

TEST(InContextRecall, SingleQuery) {
  const auto task = make("kind: in_context_recall, vocab: 17, length: 16, multi_query: false", 1);
  EXPECT_EQ(task->form().length, 16);
  for (int64_t i = 0; i < 100; ++i) {
    for (const Split split : {Split::train, Split::test}) {
      Example e = example(*task, split, i);
      EXPECT_EQ(e.ids[14], 16);
      if (split == Split::test) {
        EXPECT_EQ(std::count(e.targets.begin(), e.targets.end(), kernels::kIgnoredTarget), 15);
      }
      e.ids.erase(e.ids.end() - 2);  // without "=>" it is laid out as ever
      e.targets.erase(e.targets.end() - 2);
      EXPECT_EQ(answers(e, 8, 16).back(), e.targets.back());
    }
  }
}

TEST(InContextRecall, Errors) {
  EXPECT_EQ(error_of("kind: in_context_recall, length: 31"), "task.yaml:1: length: must be even, got 31");
  EXPECT_EQ(error_of("kind: in_context_recall, length: 2"), "task.yaml:1: length: must be from 4 to 16777216, got 2");
  EXPECT_EQ(error_of("kind: in_context_recall, noise_vocab: 15"),
            "task.yaml:1: vocab: must hold a key, a value and noise_vocab = 15 ids, 17 in all, got 16");
  EXPECT_EQ(error_of("kind: in_context_recall, noise_vocab: 14, multi_query: false"),
            "task.yaml:1: vocab: must hold a key, a value, the copy token and noise_vocab = 14 ids, 17 in all, got 16");
  EXPECT_EQ(error_of("kind: in_context_recall, noise_fraction: 0.2"),
            "task.yaml:1: noise_fraction: needs ids for the noise, got 0.2 with noise_vocab = 0; give noise_vocab");
  EXPECT_EQ(error_of("kind: in_context_recall, noise_fraction: 1.5"),
            "task.yaml:1: noise_fraction: must be from 0 to 1, got 1.5");
}

}  // namespace
}  // namespace mara::tasks
