#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace mara::optim {
namespace {

double at(const std::string& kind, int64_t step, int64_t warmup = 10, double floor = 0.1) {
  return schedule_factor({.kind = kind, .warmup = warmup, .floor = floor, .decay = 0.2}, step, 110);
}

TEST(Schedule, WarmsUpFromTheFirstStep) {
  for (const std::string kind : {"constant", "linear", "cosine", "wsd"}) {
    EXPECT_DOUBLE_EQ(at(kind, 0), 0.1) << kind;  // not 0: the first step is not wasted
    EXPECT_DOUBLE_EQ(at(kind, 4), 0.5) << kind;
    EXPECT_DOUBLE_EQ(at(kind, 9), 1) << kind;
    EXPECT_DOUBLE_EQ(at(kind, 10), 1) << kind;  // the decay starts here
    EXPECT_DOUBLE_EQ(at(kind, 0, 0), 1) << kind;
  }
}

TEST(Schedule, Constant) {
  EXPECT_EQ(at("constant", 60), 1);
  EXPECT_EQ(at("constant", 109), 1);
}

TEST(Schedule, Linear) {
  EXPECT_DOUBLE_EQ(at("linear", 60), 0.55);
  EXPECT_NEAR(at("linear", 109), 1 - 0.9 * 0.99, 1e-12);  // the floor is reached after the last step
  EXPECT_DOUBLE_EQ(at("linear", 110), 0.1);
  EXPECT_DOUBLE_EQ(at("linear", 500), 0.1);
}

TEST(Schedule, Cosine) {
  EXPECT_DOUBLE_EQ(at("cosine", 60), 0.55);
  EXPECT_NEAR(at("cosine", 35), 0.1 + 0.45 * (1 + std::sqrt(0.5)), 1e-12);
  EXPECT_NEAR(at("cosine", 109), 0.1 + 0.45 * (1 + std::cos(0.99 * std::numbers::pi)), 1e-12);
  EXPECT_NEAR(at("cosine", 110), 0.1, 1e-12);
}

TEST(Schedule, SSM_G14_timm_cosine) {
  const ScheduleConfig timm{.kind = "timm_cosine", .warmup = 8000, .floor = 0.1, .start = 1e-6 / 6e-4};
  const auto rate = [&](int64_t step) { return 6e-4 * schedule_factor(timm, step, 600'000); };
  EXPECT_NEAR(rate(0), 1e-6, 1e-12);
  EXPECT_NEAR(rate(7999), 5.999251e-4, 5e-11);
  EXPECT_NEAR(rate(8000), 5.997632e-4, 5e-11);  // the clock began at 0
  EXPECT_NEAR(rate(300'000), 3.3e-4, 5e-11);
  EXPECT_NEAR(rate(600'000), 6e-5, 5e-11);
  EXPECT_NEAR(rate(900'000), 6e-5, 5e-11);
}

TEST(Schedule, WarmUpStableDecay) {
  EXPECT_EQ(at("wsd", 60), 1);
  EXPECT_EQ(at("wsd", 88), 1);  // 80 % of 110 steps
  EXPECT_NEAR(at("wsd", 99), 0.55, 1e-12);
  EXPECT_NEAR(at("wsd", 109), 1 - 0.9 * 21 / 22, 1e-12);
}

TEST(Schedule, OtherFloorsAndShortRuns) {
  EXPECT_NEAR(at("linear", 60, 10, 0), 0.5, 1e-12);
  for (const std::string kind : {"constant", "linear", "cosine", "wsd"}) {
    for (int64_t step = 0; step < 5; ++step) {  // a run that ends within its warm-up
      EXPECT_DOUBLE_EQ(schedule_factor({.kind = kind, .warmup = 10}, step, 5), static_cast<double>(step + 1) / 10);
    }
    EXPECT_DOUBLE_EQ(schedule_factor({.kind = kind}, 0, 1), 1);
  }
}

}  // namespace
}  // namespace mara::optim
