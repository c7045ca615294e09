#include "tasks/memorization.h"

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

/// The map as the first `count` examples of a split show it; the layout is checked.
std::map<int32_t, int32_t> shown(const Task& task, Split split, int64_t count) {
  const int32_t insert = static_cast<int32_t>(task.form().vocabulary - 1), keys = insert / 2;
  std::map<int32_t, int32_t> map;
  for (int64_t i = 0; i < count; ++i) {
    const Example e = example(task, split, i);
    for (size_t t = 0; t < e.ids.size(); t += 2) {
      EXPECT_TRUE(e.ids[t] >= 0 && e.ids[t] < keys) << e.ids[t];
      EXPECT_EQ(e.ids[t + 1], insert);
      EXPECT_EQ(e.targets[t], kernels::kIgnoredTarget);
      EXPECT_TRUE(e.targets[t + 1] >= keys && e.targets[t + 1] < insert) << e.targets[t + 1];
      EXPECT_EQ(map.try_emplace(e.ids[t], e.targets[t + 1]).first->second, e.targets[t + 1]);
    }
  }
  return map;
}

TEST(Memorization, EverySplitAsksForOneMap) {
  const auto task = make("kind: memorization", 1);
  EXPECT_EQ(task->form().length, 32);
  EXPECT_EQ(task->form().vocabulary, 256);
  const std::map<int32_t, int32_t> map = shown(*task, Split::train, 256);
  EXPECT_EQ(map.size(), 127u) << "256 examples show every key";
  EXPECT_EQ(shown(*task, Split::valid, 256), map);
  EXPECT_EQ(shown(*task, Split::test, 256), map);
  std::set<int32_t> values;
  for (const auto& [key, value] : map) values.insert(value);
  EXPECT_EQ(values.size(), 127u) << "every key has a value of its own";
  EXPECT_NE(shown(*make("kind: memorization", 2), Split::train, 256), map);
}

TEST(Memorization, MapsAreUniform) {
  // 2 keys, 3 values: 6 maps.
  std::map<std::map<int32_t, int32_t>, int> seen;
  constexpr int kCount = 1200;
  for (uint64_t seed = 0; seed < kCount; ++seed) {
    ++seen[shown(*make("kind: memorization, vocab: 6, length: 32", seed), Split::train, 1)];
  }
  int whole = 0;
  for (const auto& [map, count] : seen) {
    if (map.size() < 2) continue;
    ++whole;
    EXPECT_NEAR(count, kCount / 6, 5 * std::sqrt(kCount * 5.0 / 36));
  }
  EXPECT_EQ(whole, 6);
}

// Three keys in examples of one key each: with disjoint splits, a key of the test split would never be trained on.
TEST(Memorization, SplitsShareExamples) {
  const auto task = make("kind: memorization, vocab: 7, length: 2", 1);
  const std::map<int32_t, int32_t> map = shown(*task, Split::train, 100);
  EXPECT_EQ(map.size(), 3u);
  EXPECT_EQ(shown(*task, Split::test, 100), map);
  EXPECT_EQ(leak_fraction(*task, Split::test, 100, 100), 1);
  EXPECT_EQ(error_of("kind: memorization, vocab: 3, length: 2"), "") << "one key is enough";
}

TEST(Memorization, Errors) {
  EXPECT_EQ(error_of("kind: memorization, vocab: 2"), "task.yaml:1: vocab: must be from 3 to 1048576, got 2");
  EXPECT_EQ(error_of("kind: memorization, length: 31"), "task.yaml:1: length: must be even, got 31");
}

}  // namespace
}  // namespace mara::tasks
