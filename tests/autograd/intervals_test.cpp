#include "autograd/intervals.h"

#include <gtest/gtest.h>

namespace mara {
namespace {

using Ranges = std::vector<Intervals::Range>;

Intervals of(const Ranges& ranges) {
  Intervals out;
  for (const auto& [begin, end] : ranges) out.add(begin, end);
  return out;
}

TEST(Intervals, GapsOfWhatWasAdded) {
  const struct {
    const char* what;
    Ranges added, gaps;  // of [0, 10)
  } cases[] = {
      {"nothing", {}, {{0, 10}}},
      {"empty range", {{3, 3}}, {{0, 10}}},
      {"everything", {{0, 10}}, {}},
      {"more than everything", {{-5, 50}}, {}},
      {"middle", {{3, 5}}, {{0, 3}, {5, 10}}},
      {"touching", {{3, 5}, {5, 7}}, {{0, 3}, {7, 10}}},
      {"touching, later first", {{5, 7}, {3, 5}}, {{0, 3}, {7, 10}}},
      {"overlapping", {{2, 6}, {4, 8}}, {{0, 2}, {8, 10}}},
      {"inside", {{2, 8}, {4, 5}}, {{0, 2}, {8, 10}}},
      {"around", {{4, 5}, {2, 8}}, {{0, 2}, {8, 10}}},
      {"bridge", {{1, 2}, {4, 5}, {8, 9}, {2, 8}}, {{0, 1}, {9, 10}}},
      {"apart, unsorted", {{8, 9}, {1, 2}, {4, 5}}, {{0, 1}, {2, 4}, {5, 8}, {9, 10}}},
      {"outside", {{-3, 0}, {10, 12}}, {{0, 10}}},
  };
  for (const auto& c : cases) EXPECT_EQ(of(c.added).gaps(0, 10), c.gaps) << c.what;
}

TEST(Intervals, GapsOfAPart) {
  const Intervals set = of({{0, 2}, {4, 6}, {8, 10}});
  EXPECT_EQ(set.gaps(1, 5), (Ranges{{2, 4}}));
  EXPECT_EQ(set.gaps(2, 4), (Ranges{{2, 4}}));
  EXPECT_EQ(set.gaps(4, 6), (Ranges{}));
  EXPECT_EQ(set.gaps(5, 9), (Ranges{{6, 8}}));
  EXPECT_EQ(set.gaps(3, 3), (Ranges{}));
}

TEST(Intervals, EmptyAndClear) {
  Intervals set;
  EXPECT_TRUE(set.empty());
  set.add(1, 1);
  EXPECT_TRUE(set.empty());
  set.add(1, 2);
  EXPECT_FALSE(set.empty());
  set.clear();
  EXPECT_EQ(set.gaps(0, 4), (Ranges{{0, 4}}));
}

}  // namespace
}  // namespace mara
