#include "tasks/listops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "tasks/task_cases.h"

namespace mara::tasks {
namespace {

std::vector<int32_t> ids(const std::string& text) {
  static const std::map<std::string, int32_t> kSpecial = {
      {"[MIN", 13}, {"[MAX", 14}, {"[MED", 15}, {"[SM", 16}, {"]", 17}};
  std::vector<int32_t> out;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const auto special = kSpecial.find(word);
    out.push_back(special != kSpecial.end() ? special->second : 3 + std::stoi(word));
  }
  return out;
}

TEST(Listops, Values) {
  const std::vector<std::pair<std::string, int32_t>> cases = {{"7", 7},
                                                              {"[MAX 2 9 [MIN 4 7 ] 0 ]", 9},
                                                              {"[MIN 2 9 [MAX 4 7 ] 1 ]", 1},
                                                              {"[MED 1 5 9 ]", 5},
                                                              {"[MED 8 1 4 2 ]", 3},
                                                              {"[MED 1 8 ]", 4},  // 4.5 without its fraction
                                                              {"[SM 7 8 9 ]", 4},
                                                              {"[SM [MAX 3 9 ] [MED 2 [MIN 8 6 ] 7 ] 9 ]", 4}};
  for (const auto& [text, value] : cases) EXPECT_EQ(Listops::value(ids(text)), value) << text;
}

// Of two operands none is an operator with probability (3/4)^2.
TEST(Listops, AQuarterOfTheTreesAreOperators) {
  const auto task = make("kind: listops, min_length: 1, max_length: 12, max_depth: 3, max_args: 2", 1);
  constexpr int64_t kCount = 4000;
  int64_t flat = 0;
  for (int64_t i = 0; i < kCount; ++i) flat += example(*task, Split::train, i).ids[4] == 2;  // the end token
  EXPECT_NEAR(static_cast<double>(flat) / kCount, 0.5625, 0.03);
}

/// Depth of the deepest digit, most operands of an operator, and whether brackets close at the end and not before.
struct Tree {
  explicit Tree(const std::vector<int32_t>& tokens) {
    std::vector<int> operands{0};
    for (size_t t = 0; t < tokens.size(); ++t) {
      well_formed &= t == 0 || operands.size() > 1;
      if (tokens[t] == 17) {
        well_formed &= operands.size() > 1 && operands.back() >= 2;
        most = std::max(most, operands.back());
        operands.pop_back();
      } else {
        ++operands.back();
        if (tokens[t] >= 13) operands.push_back(0);
        depth = std::max(depth, operands.size());
      }
    }
    well_formed &= operands.size() == 1 && operands[0] == 1;
  }
  bool well_formed = true;
  size_t depth = 0;
  int most = 0;
};

TEST(Listops, ExpressionsAreAsAsked) {
  const auto task = make("kind: listops, min_length: 10, max_length: 60, max_depth: 4, max_args: 5", 1);
  EXPECT_EQ(task->form().length, 60);
  EXPECT_EQ(task->form().classes, 10);
  size_t deepest = 0, longest = 0, shortest = 60;
  int most = 0;
  std::map<int32_t, int> values, operators;
  for (int64_t i = 0; i < 1000; ++i) {
    const Example e = example(*task, Split::train, i);
    const auto end = std::find(e.ids.begin(), e.ids.end(), 2);
    ASSERT_NE(end, e.ids.end());
    EXPECT_EQ(std::count(end + 1, e.ids.end(), 0), e.ids.end() - end - 1);
    const std::vector<int32_t> tokens(e.ids.begin(), end);
    const Tree tree(tokens);
    EXPECT_TRUE(tree.well_formed);
    EXPECT_TRUE(10 < tokens.size() && tokens.size() < 60);
    deepest = std::max(deepest, tree.depth);
    most = std::max(most, tree.most);
    longest = std::max(longest, tokens.size());
    shortest = std::min(shortest, tokens.size());
    for (const int32_t id : tokens) {
      ASSERT_TRUE(id >= 3 && id <= 17);
      if (id >= 13 && id < 17) ++operators[id];
    }
    ASSERT_EQ(e.targets.size(), 1u);
    EXPECT_EQ(e.targets[0], Listops::value(tokens));
    ++values[e.targets[0]];
  }
  EXPECT_EQ(deepest, 4u);
  EXPECT_EQ(most, 5);
  EXPECT_EQ(shortest, 11u);
  EXPECT_GT(longest, 50u);
  EXPECT_EQ(values.size(), 10u);
  EXPECT_EQ(operators.size(), 4u);
}

TEST(Listops, PublishedLengths) {
  const auto task = make("kind: listops", 1);
  EXPECT_EQ(task->form().length, 2000);
  EXPECT_TRUE(task->form().padded);
  const Example e = example(*task, Split::test, 0);
  EXPECT_GT(std::find(e.ids.begin(), e.ids.end(), 2) - e.ids.begin(), 500);
}

TEST(Listops, Errors) {
  EXPECT_EQ(error_of("kind: listops, min_length: 50, max_length: 51"),
            "task.yaml:1: max_length: must be above min_length + 1 = 51, got 51");
  EXPECT_EQ(error_of("kind: listops, min_length: 20, max_length: 40, max_depth: 2, max_args: 4"),
            "task: none of 100000 expressions drawn has more than 20 and fewer than 40 tokens; lower min_length, or "
            "raise max_length, max_depth or max_args");
}

}  // namespace
}  // namespace mara::tasks
