#include "report/series.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mara::report {
namespace {

const double kNan = std::nan("");

Series wave(int count) {
  Series out;
  for (int i = 1; i <= count; ++i) out.add(i, std::sin(i * 0.37));
  return out;
}

TEST(Series, GoingBackReplaces) {
  Series series;
  for (int step = 1; step <= 5; ++step) series.add(step, step);
  series.add(3, 30);
  EXPECT_EQ(series.steps, (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(series.values, (std::vector<double>{1, 2, 30}));
}

TEST(Columns, PeaksSurvive) {
  Series series = wave(100000);
  series.values[43210] = 77;
  series.values[43211] = -55;
  series.values.back() = 33;
  const std::vector<Column> shown = columns(series, series.values, 600);
  EXPECT_LE(shown.size(), 600u);
  double low = 0, high = 0;
  for (const Column& c : shown) {
    if (c.high == 77) {
      EXPECT_LE(c.first, 43211);
      EXPECT_GE(c.last, 43211);
      EXPECT_FALSE(c.low_first);  // the trough came after the peak
    }
    low = std::min(low, c.low);
    high = std::max(high, c.high);
  }
  EXPECT_EQ(low, -55);
  EXPECT_EQ(high, 77);
  EXPECT_EQ(shown.back().high, 33);
  EXPECT_EQ(shown.front().first, 1);
  EXPECT_EQ(shown.back().last, 100000);
}

TEST(Columns, EveryStepIsInOne) {
  const Series series = wave(5003);
  double last = 0, covered = 0;
  for (const Column& c : columns(series, series.values, 100)) {
    EXPECT_EQ(c.first, last + 1);
    for (int step = static_cast<int>(c.first); step <= c.last; ++step) {
      EXPECT_GE(series.values[step - 1], c.low);
      EXPECT_LE(series.values[step - 1], c.high);
      ++covered;
    }
    last = c.last;
  }
  EXPECT_EQ(covered, 5003);
}

TEST(Columns, ShortSeriesAsTheyAre) {
  Series series;
  for (const double value : {4.0, kNan, 2.0, 3.0}) series.add(static_cast<double>(series.size()), value);
  const std::vector<Column> shown = columns(series, series.values, 500);
  ASSERT_EQ(shown.size(), 3u);
  EXPECT_EQ(shown[0].low, 4);
  EXPECT_EQ(shown[1].first, 2);
  EXPECT_TRUE(shown[1].after_gap);
  EXPECT_FALSE(shown[2].after_gap);
}

TEST(Columns, NothingToShow) {
  EXPECT_TRUE(columns({}, {}, 10).empty());
  Series series;
  series.add(1, kNan);
  EXPECT_TRUE(columns(series, series.values, 10).empty());
  series.add(2, 5);
  EXPECT_EQ(columns(series, series.values, 10).size(), 1u);
}

TEST(Smoothed, MeanOfTheWindow) {
  EXPECT_EQ(smoothed({1, 2, 6, 4, 5}, 0), (std::vector<double>{1, 2, 6, 4, 5}));
  // The first value alone, then three; at the end what is left of three.
  EXPECT_EQ(smoothed({1, 2, 6, 4, 5}, 1), (std::vector<double>{1, 3, 4, 5, 4.5}));
  EXPECT_EQ(smoothed({1, kNan, 3}, 1)[1], 2);
  EXPECT_TRUE(std::isnan(smoothed({kNan}, 1)[0]));
}

}  // namespace
}  // namespace mara::report
