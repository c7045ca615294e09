#include "tasks/fuzzy_recall.h"

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

using Motif = std::vector<int32_t>;
struct Pair {
  size_t begin;
  Motif key, value;
};

/// An example of V = 16 taken apart: its pads, then pairs; the last token is the last target.
struct Parsed {
  size_t pads = 0;
  std::vector<Pair> pairs;
};

Parsed parse(const Example& e) {
  std::vector<int32_t> tokens = e.ids;
  tokens.push_back(e.targets.back());
  Parsed parsed;
  size_t t = 0;
  while (tokens[t] == 15) ++t;
  parsed.pads = t;
  while (t < tokens.size()) {
    Pair pair{.begin = t};
    while (t < tokens.size() && tokens[t] < 7) pair.key.push_back(tokens[t++]);
    while (t < tokens.size() && tokens[t] >= 7 && tokens[t] < 15) pair.value.push_back(tokens[t++]);
    EXPECT_TRUE(!pair.key.empty() && !pair.value.empty());
    for (const Motif& motif : {pair.key, pair.value}) {
      EXPECT_LE(motif.size(), 3u);
      EXPECT_EQ(std::set<int32_t>(motif.begin(), motif.end()).size(), motif.size()) << "distinct ids";
    }
    if (pair.key.empty()) break;
    parsed.pairs.push_back(pair);
  }
  return parsed;
}

TEST(FuzzyRecall, LayoutAndTargets) {
  const auto task = make("kind: fuzzy_recall", 1);
  EXPECT_EQ(task->form().length, 128);
  EXPECT_EQ(task->form().vocabulary, 16);
  for (const Split split : {Split::train, Split::valid, Split::test}) {
    for (int64_t i = 0; i < 200; ++i) {
      const Example e = example(*task, split, i);
      const Parsed parsed = parse(e);
      EXPECT_GE(parsed.pads, 2u);
      std::vector<int32_t> answers(128, kernels::kIgnoredTarget);
      std::map<Motif, Motif> map;
      for (const Pair& pair : parsed.pairs) {
        const auto [entry, is_new] = map.try_emplace(pair.key, pair.value);
        EXPECT_EQ(entry->second, pair.value);
        for (size_t j = 0; !is_new && j < pair.value.size(); ++j) {
          answers[pair.begin + pair.key.size() + j - 1] = pair.value[j];
        }
        EXPECT_TRUE(&pair != &parsed.pairs.back() || !is_new) << "the probe was shown";
        if (split != Split::train) {
          EXPECT_EQ(pair.key.size(), 3u);
        }
      }
      if (split == Split::train) {
        for (size_t t = 0; t + 1 < 128; ++t) EXPECT_EQ(e.targets[t], e.ids[t + 1]);
      } else {
        EXPECT_EQ(e.targets, answers);
      }
    }
  }
}

// The shortest length there is: a threshold that some pair could skip would leave the probe unseen here.
TEST(FuzzyRecall, TheProbeIsAlwaysShown) {
  const auto task = make("kind: fuzzy_recall, length: 18", 1);
  for (int64_t i = 0; i < 3000; ++i) {
    const std::vector<Pair> pairs = parse(example(*task, Split::train, i)).pairs;
    EXPECT_GT(std::count_if(pairs.begin(), pairs.end(), [&](const Pair& p) { return p.key == pairs.back().key; }), 1);
  }
}

TEST(FuzzyRecall, MotifSizesAndIdsAreUniform) {
  const auto task = make("kind: fuzzy_recall", 1);
  std::vector<int> key_sizes(4), value_sizes(4), ids(15);
  constexpr int kCount = 3000;
  for (int64_t i = 0; i < kCount; ++i) {
    const Pair first = parse(example(*task, Split::train, i)).pairs.front();
    ++key_sizes[first.key.size()];
    ++value_sizes[first.value.size()];
    ++ids[static_cast<size_t>(first.key[0])];
    ++ids[static_cast<size_t>(first.value.back())];
  }
  for (size_t s = 1; s <= 3; ++s) {
    EXPECT_NEAR(key_sizes[s], kCount / 3, 5 * std::sqrt(kCount * 2 / 9.0));
    EXPECT_NEAR(value_sizes[s], kCount / 3, 5 * std::sqrt(kCount * 2 / 9.0));
  }
  for (size_t id = 0; id < 15; ++id) EXPECT_NEAR(ids[id], kCount / (id < 7 ? 7 : 8), 5 * std::sqrt(kCount / 8.0));
}

// Where the probe first stands, as a fraction of the text: anywhere.
TEST(FuzzyRecall, TheProbeIsInsertedAnywhere) {
  const auto task = make("kind: fuzzy_recall", 1);
  std::vector<int> quarter(4);
  constexpr int kCount = 2000;
  for (int64_t i = 0; i < kCount; ++i) {
    const Parsed parsed = parse(example(*task, Split::test, i));
    const auto probe = std::find_if(parsed.pairs.begin(), parsed.pairs.end(),
                                    [&](const Pair& pair) { return pair.key == parsed.pairs.back().key; });
    ++quarter[std::min<size_t>(3, (probe->begin - parsed.pads) / 30)];
  }
  for (const int n : quarter) EXPECT_NEAR(n, kCount / 4, 120);
}

TEST(FuzzyRecall, DistanceIsBetweenPairs) {
  const auto task = make("kind: fuzzy_recall, length: 18, key_motif: 3, value_motif: 3", 1);
  //                                 |        |        the same, not 1, not 1 0
  const std::vector<int32_t> ids = {15, 15, 0, 1, 9, 8, 1, 9, 1, 0, 7, 2, 7, 0, 1, 9, 15, 15};
  EXPECT_EQ(task->distance(ids, 14), 11);
  EXPECT_EQ(task->distance(ids, 15), 11);
  EXPECT_EQ(task->distance(ids, 12), 0) << "2 has not been there";
}

TEST(FuzzyRecall, Errors) {
  EXPECT_EQ(error_of("kind: fuzzy_recall, vocab: 6"),
            "task.yaml:1: key_motif: must be at most the (vocab - 1) / 2 = 2 different ids of keys, got 3; enlarge "
            "vocab");
  EXPECT_EQ(
      error_of("kind: fuzzy_recall, vocab: 7, value_motif: 4"),
      "task.yaml:1: value_motif: must be at most the vocab / 2 = 3 different ids of values, got 4; enlarge vocab");
  EXPECT_EQ(error_of("kind: fuzzy_recall, length: 17"),
            "task.yaml:1: length: must be at least 3 (key_motif + value_motif) = 18, got 17");
  EXPECT_EQ(error_of("kind: fuzzy_recall, key_motif: 0"), "task.yaml:1: key_motif: must be from 1 to 1048576, got 0");
}

}  // namespace
}  // namespace mara::tasks
