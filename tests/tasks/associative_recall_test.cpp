#include "tasks/associative_recall.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "kernels/loss.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

using Key = std::vector<int32_t>;

/// An example taken apart again: map, number of pairs, query; checks the layout on the way.
struct Parsed {
  std::map<Key, int32_t> map;
  Key query;
};

Parsed parse(const Example& e, int64_t vocab, int64_t keys_per_pair) {
  const int32_t keys = static_cast<int32_t>((vocab - 2) / 2);
  const auto take_key = [&](size_t& t) {
    Key key;
    for (int64_t i = 0; i < keys_per_pair; ++i) key.push_back(e.ids[t++]);
    for (const int32_t token : key) EXPECT_TRUE(token >= 1 && token <= keys) << token;
    return key;
  };
  Parsed parsed;
  size_t t = 0;
  while (e.ids[t] != vocab - 1) {
    const Key key = take_key(t);
    const int32_t value = e.ids[t++];
    EXPECT_TRUE(value > keys && value <= vocab - 2) << value;
    EXPECT_EQ(parsed.map.try_emplace(key, value).first->second, value) << "a repeated key repeats its value";
  }
  parsed.query = take_key(++t);
  EXPECT_EQ(t, e.ids.size());
  return parsed;
}

TEST(AssociativeRecall, LayoutAndTargets) {
  for (const int64_t m : {1, 2}) {
    const auto task = make("kind: associative_recall, vocab: 10, length: 20, num_keys: " + std::to_string(m), 1);
    EXPECT_EQ(task->form().length, m == 1 ? 22 : 21);  // 10 pairs, 6 pairs of three tokens; => and the query
    for (int64_t i = 0; i < 200; ++i) {
      const Example train = example(*task, Split::train, i), test = example(*task, Split::test, i);
      const Parsed parsed = parse(train, 10, m);
      ASSERT_TRUE(parsed.map.contains(parsed.query));
      EXPECT_EQ(train.targets.back(), parsed.map.at(parsed.query));
      for (size_t t = 0; t + 1 < train.ids.size(); ++t) EXPECT_EQ(train.targets[t], train.ids[t + 1]);

      const Parsed tested = parse(test, 10, m);
      EXPECT_EQ(test.targets.back(), tested.map.at(tested.query));
      for (size_t t = 0; t + 1 < test.ids.size(); ++t) EXPECT_EQ(test.targets[t], kernels::kIgnoredTarget);
    }
  }
}

TEST(AssociativeRecall, AnswerLossAlone) {
  const auto task = make("kind: associative_recall, dense_loss: false", 1);
  const Example e = example(*task, Split::train, 0);
  const Parsed parsed = parse(e, 20, 1);
  EXPECT_EQ(e.targets.back(), parsed.map.at(parsed.query));
  EXPECT_EQ(std::count(e.targets.begin(), e.targets.end(), kernels::kIgnoredTarget), task->form().length - 1);
}

TEST(AssociativeRecall, DotIsTheAnswerForAbsentKeys) {
  const auto task = make("kind: associative_recall, vocab: 20, length: 10, allow_dot: true", 1);
  int absent = 0;
  for (int64_t i = 0; i < 2000; ++i) {
    const Example e = example(*task, Split::valid, i);
    const Parsed parsed = parse(e, 20, 1);
    const auto found = parsed.map.find(parsed.query);
    EXPECT_EQ(e.targets.back(), found == parsed.map.end() ? 0 : found->second);
    absent += found == parsed.map.end();
  }
  const double p = std::pow(8.0 / 9, 5);  // one key of 9 in none of 5 pairs
  EXPECT_NEAR(absent, 2000 * p, 5 * std::sqrt(2000 * p * (1 - p)));
}

TEST(AssociativeRecall, DrawsAreUniform) {
  const auto task = make("kind: associative_recall, vocab: 10, length: 20", 1);
  constexpr int kCount = 8000;
  std::vector<int> values(10), keys(10), first_asked(2);
  int distinct = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const Example e = example(*task, Split::train, i);
    ++keys[static_cast<size_t>(e.ids[0])];
    ++values[static_cast<size_t>(e.ids[1])];
    // Asked are the distinct keys alike, however often they occur: the first pair's key with probability 1 / distinct.
    const Parsed parsed = parse(e, 10, 1);
    if (parsed.map.size() == 3) {
      ++distinct;
      first_asked[parsed.query[0] == e.ids[0]]++;
    }
  }
  const double sigma = std::sqrt(kCount * 0.25 * 0.75);
  for (size_t id = 1; id <= 4; ++id) EXPECT_NEAR(keys[id], kCount / 4, 5 * sigma);
  for (size_t id = 5; id <= 8; ++id) EXPECT_NEAR(values[id], kCount / 4, 5 * sigma);
  ASSERT_GT(distinct, 500);
  EXPECT_NEAR(first_asked[1], distinct / 3.0, 5 * std::sqrt(distinct * 2.0 / 9));
}

TEST(AssociativeRecall, Errors) {
  EXPECT_EQ(error_of("kind: associative_recall, vocab: 3"), "task.yaml:1: vocab: must be from 4 to 16777216, got 3");
  EXPECT_EQ(error_of("kind: associative_recall, length: 1"), "task.yaml:1: length: must be from 2 to 16777216, got 1");
  EXPECT_EQ(error_of("kind: associative_recall, num_keys: 0"), "task.yaml:1: num_keys: must be at least 1, got 0");
  EXPECT_EQ(error_of("kind: associative_recall, length: 3, num_keys: 3"),
            "task.yaml:1: length: must hold a key and its value, num_keys + 1 = 4 tokens, got 3");
  EXPECT_EQ(error_of("kind: associative_recall, num_keys: 20, vocab: 34"),
            "task.yaml:1: num_keys: must give at most 2^62 keys of 16 tokens, got num_keys = 20; make it or vocab "
            "smaller");
  EXPECT_EQ(error_of("kind: associative_recall, num_keys: 15, vocab: 34"), "");
}

}  // namespace
}  // namespace mara::tasks
