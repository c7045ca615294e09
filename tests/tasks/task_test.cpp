// What holds for every kind of task: options, purity, splits.

#include "tasks/task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "kernels/loss.h"
#include "tasks/example_order.h"
#include "tasks/split.h"
#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

class EveryTask : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const Task> task = make(GetParam(), 3);
};

const std::string kLookUps[] = {"kind: associative_recall",
                                "kind: associative_recall, vocab: 10, length: 20",
                                "kind: associative_recall, num_keys: 2, allow_dot: true",
                                "kind: fuzzy_recall",
                                "kind: in_context_recall",
                                "kind: in_context_recall, multi_query: false",
                                "kind: in_context_recall, vocab: 32, noise_vocab: 16, noise_fraction: 0.2",
                                "kind: induction_heads",
                                "kind: induction_heads, copy_length: 2, num_triggers: 3",
                                "kind: mqar",
                                "kind: mqar, vocab: 64, length: 32, random_non_queries: false",
                                "kind: mqar, num_passes: 3"};
const std::string kOthers[] = {"kind: arithmetic, digits: 4",
                               "kind: compression",
                               "kind: copy",
                               "kind: counting",
                               "kind: listops, min_length: 20, max_length: 60",
                               "kind: majority",
                               "kind: memorization",
                               "kind: selective_copying"};
INSTANTIATE_TEST_SUITE_P(LookUps, EveryTask, testing::ValuesIn(kLookUps));
INSTANTIATE_TEST_SUITE_P(Others, EveryTask, testing::ValuesIn(kOthers));

TEST_P(EveryTask, IdsAndTargetsAreTokens) {
  for (const Split split : {Split::train, Split::valid, Split::test}) {
    for (int64_t i = 0; i < 50; ++i) {
      const Example e = example(*task, split, i);
      for (const int32_t id : e.ids) ASSERT_TRUE(id >= 0 && id < task->form().vocabulary);
      bool scored = false;
      for (const int32_t target : e.targets) {
        ASSERT_TRUE(target == kernels::kIgnoredTarget || (target >= 0 && target < task->form().classes));
        scored |= target != kernels::kIgnoredTarget;
      }
      EXPECT_TRUE(scored);
    }
  }
}

TEST_P(EveryTask, IsAPureFunctionOfSeedSplitAndIndex) {
  const Example first = example(*task, Split::train, 7), valid = example(*task, Split::valid, 7);
  const Example far = example(*task, Split::train, int64_t{1} << 40);
  EXPECT_EQ(example(*make(GetParam(), 3), Split::train, int64_t{1} << 40), far);
  EXPECT_EQ(example(*make(GetParam(), 3), Split::valid, 7), valid);
  EXPECT_EQ(example(*task, Split::train, 7), first);
  EXPECT_NE(far.ids, first.ids);
  EXPECT_NE(valid.ids, first.ids);
  EXPECT_NE(example(*task, Split::test, 7).ids, valid.ids);
  EXPECT_NE(example(*task, Split::train, 8).ids, first.ids);
  EXPECT_NE(example(*make(GetParam(), 4), Split::train, 7).ids, first.ids);
}

class LookUp : public EveryTask {};
INSTANTIATE_TEST_SUITE_P(Kinds, LookUp, testing::ValuesIn(kLookUps));

// The token behind the key's earlier occurrence is the answer.
TEST_P(LookUp, DistanceLeadsToTheAnswer) {
  std::set<int64_t> distances;
  for (int64_t i = 0; i < 50; ++i) {
    const Example e = example(*task, Split::valid, i);
    for (int64_t t = 0; t < task->form().length; ++t) {
      const int32_t target = e.targets[static_cast<size_t>(t)];
      if (target == kernels::kIgnoredTarget) continue;
      const int64_t distance = task->distance(e.ids, t);
      distances.insert(distance);
      if (distance == 0) {
        EXPECT_NE(GetParam().find("allow_dot"), std::string::npos) << "only an absent key has none";
      } else {
        ASSERT_TRUE(0 < distance && distance <= t) << distance;
        EXPECT_EQ(e.ids[static_cast<size_t>(t - distance + 1)], target) << t << " " << distance;
      }
    }
  }
  EXPECT_GT(distances.size(), 3u);
}

TEST_P(EveryTask, SplitsAreDisjoint) {
  EXPECT_NE(task->splits_are_disjoint(), GetParam() == "kind: memorization");  // whose examples are too many to meet
  EXPECT_EQ(leak_fraction(*task, Split::valid, 500, 3000), 0);
  EXPECT_EQ(leak_fraction(*task, Split::test, 500, 3000), 0);
  EXPECT_EQ(leak_fraction(*task, Split::train, 500, 250), 0.5);  // the control: the first half is there
}

TEST(Task, SplitsAreDisjointWhereExamplesRepeat) {
  // 2 ordinary tokens, 6 positions: a few hundred different examples.
  const auto small = make("kind: induction_heads, vocab: 4, length: 6", 1);
  std::set<std::vector<int32_t>> train, other;
  for (int64_t i = 0; i < 2000; ++i) {
    train.insert(example(*small, Split::train, i).ids);
    other.insert(example(*small, Split::valid, i).ids);
    other.insert(example(*small, Split::test, i).ids);
  }
  EXPECT_LT(train.size(), 300u);
  EXPECT_GT(other.size(), 10u);
  for (const auto& ids : other) EXPECT_FALSE(train.contains(ids));
}

TEST(Task, SplitsHaveTheirShare) {
  std::vector<int> count(3);
  for (int32_t i = 0; i < 8000; ++i) ++count[static_cast<size_t>(split_of(std::vector<int32_t>{i, -i, 5}))];
  EXPECT_NEAR(count[0], 6000, 5 * 39);  // 5 sigma of a binomial
  EXPECT_NEAR(count[1], 1000, 5 * 30);
  EXPECT_NEAR(count[2], 1000, 5 * 30);
}

TEST(Task, TooFewExamplesAreRefused) {
  // One key, one value, one pair: a single example.
  EXPECT_EQ(error_of("kind: associative_recall, vocab: 4, length: 2"),
            "task: none of 1000 examples drawn belongs to the valid split, there are too few different ones; enlarge "
            "the task, as by vocab or length, or give more images");
}

TEST(TaskConfig, Defaults) {
  EXPECT_EQ(read("kind: associative_recall").train_examples(), 5000);
  EXPECT_EQ(read("kind: induction_heads").train_examples(), 5000);
  EXPECT_EQ(read("kind: mqar").train_examples(), 100000);
  EXPECT_EQ(read("kind: in_context_recall").train_examples(), 12800);
  EXPECT_EQ(read("kind: memorization").train_examples(), 256);
  EXPECT_EQ(read("kind: mqar, examples: 0").train_examples(), 0);
  EXPECT_EQ(make("kind: associative_recall", 0)->form().length, 42);
  EXPECT_EQ(make("kind: induction_heads", 0)->form().length, 31);
  EXPECT_EQ(make("kind: mqar", 0)->form().vocabulary, 8192);
}

TEST(TaskConfig, PrintsAndReadsBack) {
  const TaskConfig config = read("kind: mqar, vocab: 256, examples: 10");
  const std::string text = config::to_yaml(config);
  EXPECT_EQ(text,
            "kind: mqar\nvocab: 256\nlength: 64\nnum_pairs: 4\npower_a: 0.01\nrandom_non_queries: true\n"
            "num_passes: 1\nexamples: 10\n");
  TaskConfig back;
  config::Document::parse(text, "back.yaml").read(back);
  EXPECT_EQ(example(*back.make(1), Split::train, 0), example(*config.make(1), Split::train, 0));
}

TEST(TaskConfig, ReadingACopyLeavesTheOriginal) {
  const TaskConfig config = read("kind: mqar, vocab: 256");
  TaskConfig copy = config;
  config::Document::parse("kind: mqar\nlength: 128\n", "copy.yaml").read(copy);
  EXPECT_EQ(copy.make(0)->form().length, 128);
  EXPECT_EQ(config.make(0)->form().length, 64);
}

TEST(TaskConfig, MakesATaskOnce) {
  TaskConfig config = read("kind: mqar, vocab: 256");
  const TaskConfig copy = config;
  const auto task = config.make(0);
  EXPECT_EQ(config.make(0), task);
  const TaskConfig later = config;
  config::to_yaml(config);
  EXPECT_EQ(later.make(0), task);
  EXPECT_NE(copy.make(0), task);  // made before it was
  EXPECT_NE(later.make(1), task);
  config::Document::parse("kind: mqar\nvocab: 128\n", "again.yaml").read(config);
  EXPECT_EQ(config.make(0)->form().vocabulary, 128);
}

TEST(TaskConfig, ListsTheOptionsOfEveryKind) {
  std::set<std::string> keys;
  for (const config::Option& option : config::options<TaskConfig>()) keys.insert(option.key + "=" + option.value);
  for (const std::string key : {"kind=", "(associative_recall).examples=5000", "(mqar).examples=100000",
                                "(mqar).num_pairs=4", "(induction_heads).copy_length=1"}) {
    EXPECT_TRUE(keys.contains(key)) << key;
  }
}

TEST(TaskConfig, Errors) {
  EXPECT_EQ(error_of("kind: mqra"),
            "task.yaml:1: kind: must be one of arithmetic, associative_recall, compression, copy, counting, "
            "fuzzy_recall, in_context_functions, in_context_recall, induction_heads, listops, majority, memorization, "
            "mqar, pixels, selective_copying, got 'mqra'; did you mean 'mqar'?");
  EXPECT_EQ(error_of("kind: mqar, examples: -1"), "task.yaml:1: examples: must be at least 0, got -1");
  EXPECT_EQ(error_of("kind: mqar, copy_length: 1"),
            "task.yaml:1: copy_length: unknown key for kind 'mqar'; valid keys: kind, vocab, length, num_pairs, "
            "power_a, random_non_queries, num_passes, examples");
}

class EpochOf : public testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, EpochOf, testing::Values(1, 2, 3, 7, 16, 17, 1000));

TEST_P(EpochOf, IsAPermutation) {
  const int64_t examples = GetParam();
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    std::vector<int64_t> order;
    for (int64_t i = 0; i < examples; ++i) order.push_back(example_at(5, epoch * examples + i, examples));
    EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), static_cast<size_t>(examples));
    EXPECT_GE(*std::min_element(order.begin(), order.end()), 0);
    EXPECT_LT(*std::max_element(order.begin(), order.end()), examples);
    orders.insert(order);
  }
  EXPECT_GE(orders.size(), examples > 7 ? 20u : examples > 1 ? 2u : 1u);
}

TEST(ExampleOrder, EveryPlaceGetsEveryExample) {
  // 7 x 7 table of place and example over 7000 epochs: each entry 1000 +- 5 sigma (sigma = sqrt(7000 / 7 x 6 / 7)).
  std::vector<int> count(49);
  for (int64_t position = 0; position < 49000; ++position) {
    ++count[static_cast<size_t>(position % 7 * 7 + example_at(0, position, 7))];
  }
  for (const int n : count) EXPECT_NEAR(n, 1000, 5 * 29.3);
}

TEST(ExampleOrder, DependsOnTheSeedAndIsTheIdentityForEndlessExamples) {
  int same = 0;
  for (int64_t i = 0; i < 1000; ++i) same += example_at(1, i, 1000) == example_at(2, i, 1000);
  EXPECT_LT(same, 12);  // one on average
  EXPECT_EQ(example_at(1, 123456789012, 0), 123456789012);
}

}  // namespace
}  // namespace mara::tasks
