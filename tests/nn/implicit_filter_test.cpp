#include "nn/implicit_filter.h"

#include "nn/published_filter.h"

namespace mara::nn {
namespace {

struct FilterUnderTest {
  FilterUnderTest(const ImplicitFilterOptions& options, int64_t channels, int64_t length, bool bidirectional = false)
      : filter(options, channels, length, 0.02, bidirectional), arena(filter, kCpu, Dtype::f64, 1) {}
  // (channels, L) as rows of time, the way the published values are written.
  static std::vector<double> by_time(const Tensor& taps) {
    const std::vector<double> rows = taps.to_host();
    const auto channels = static_cast<size_t>(taps.size(0)), length = static_cast<size_t>(taps.size(1));
    std::vector<double> out;
    for (size_t t = 0; t < length; ++t) {
      for (size_t c = 0; c < channels; ++c) out.push_back(rows[c * length + t]);
    }
    return out;
  }
  ImplicitFilter filter;
  ParameterArena arena;
};

void expect_near(const std::vector<double>& actual, const std::vector<double>& expected, double error) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], error) << i;
}

const std::vector<double> kFeatures = {0,      1,         1,  0,          0, 1. / 3, .99999999, 0, -.00015708, -1,
                                       2. / 3, .99999995, -1, -.00031416, 0, 1,      .99999989, 0, -.00047124, 1};
const std::vector<double> kRates = {-3.07011346, -9.21034037, -15.35056729};
const std::vector<double> kWindow = {1,         1,         1,         .35938137, .04641589, .00599484,
                                     .12915497, .00215443, .00003594, .04641589, .0001,     .00000022};
constexpr double kPrinted = 6e-9;  // the published values have eight decimals

void expect_features_rates_and_window() {
  FilterUnderTest f({.width = 2, .inner_layers = 0}, 3, 4);
  expect_near(parameter(f.filter, "features").master().to_host(), kFeatures, kPrinted);
  expect_near(parameter(f.filter, "decay").master().to_host(), kRates, kPrinted);
  // A network that makes ones shows the window alone: sin(phi b) = 1 and one output weight of 1.
  assign(f.filter, "forward.layer0.weight", std::vector<double>(10));
  assign(f.filter, "forward.layer0.bias", {std::acos(-1.0) / 2, 0});
  assign(f.filter, "frequency", {1, 1});
  assign(f.filter, "forward.output.weight", {1, 0, 1, 0, 1, 0});
  expect_near(FilterUnderTest::by_time(f.filter.forward(4)), kWindow, kPrinted);
}

TEST(ImplicitFilter, SSM_G7) { expect_features_rates_and_window(); }
TEST(ImplicitFilter, Monarch_20_7) { expect_features_rates_and_window(); }

void assign_g8(FilterUnderTest& f) {
  assign(f.filter, "frequency", {10, 10});
  assign(f.filter, "forward.layer0.weight", {.1, -.2, .3, .05, -.1, .2, .1, -.1, .4, .3});
  assign(f.filter, "forward.layer0.bias", {.01, -.02});
  assign(f.filter, "forward.layer1.weight", {.3, -.1, .2, .25});
  assign(f.filter, "forward.layer1.bias", {0, .05});
  assign(f.filter, "forward.layer2.weight", {-.2, .1, .15, .3});
  assign(f.filter, "forward.layer2.bias", {.1, -.1});
  assign(f.filter, "forward.output.weight", {1, -1, .5, .5, .2, .7});
}

TEST(ImplicitFilter, SSM_G8_values) {
  FilterUnderTest plain({.width = 2, .modulate = false}, 3, 4), modulated({.width = 2}, 3, 4);
  assign_g8(plain);
  assign_g8(modulated);
  expect_near(FilterUnderTest::by_time(plain.filter.forward(4)),
              {.26673291, .85871558, .70616079, 1.7521611, -.0022098, -.44002909, -.20858917, .82701298, .79645897,
               .43741143, .74522744, .56135184},
              kPrinted);
  expect_near(FilterUnderTest::by_time(modulated.filter.forward(4)),
              {.26673291, .85871558, .70616079, .62969405, -.00010257, -.00263791, -.02694033, .00178175, .00002862,
               .02030284, .00007452, .00000012},
              kPrinted);
}

TEST(ImplicitFilter, SSM_G8_gradients) {
  FilterUnderTest f({.width = 2, .decay_lr_scale = 1}, 3, 4);
  assign_g8(f);
  f.arena.begin_step();
  Tape tape;
  Tensor taps;
  {
    const Recording recording(tape);
    taps = f.filter.forward(4);
  }
  tape.backward(taps, Tensor::from(std::vector<double>(12, 1), taps.shape(), Dtype::f64, kCpu), {});
  f.arena.finish_step();
  const auto gradient = [&](const std::string& name) { return parameter(f.filter, name).grad().to_host(); };
  expect_near(gradient("frequency"), {.20864531, .0979691}, kPrinted);
  expect_near(gradient("forward.layer0.bias"), {17.71319069, -2.01762311}, kPrinted);
  expect_near(gradient("forward.layer0.weight"),
              {3.79882062, 17.71319046, 8.62981146, -.00179015, -6.63733458, 1.62620403, -2.01762318, -9.73899919,
               -.00076633, -.9710715},
              kPrinted);
  expect_near(gradient("decay"), {.21224064, .00122816, -.0008601}, kPrinted);
}

TEST(ImplicitFilter, Monarch_20_8_filter) {
  FilterUnderTest f({.width = 3, .frequency = 10}, 2, 4, true);
  assign_monarch_filter(f.filter, "");
  expect_near(FilterUnderTest::by_time(f.filter.forward(4)),
              {0.13913503375, -0.22807573014, 0.04340899288, -0.00118746322, 0.01726797273, -6.5415985e-6,
               0.00542747917, -4.827446e-8},
              1e-11);
  expect_near(FilterUnderTest::by_time(f.filter.reverse(4)),
              {0.10231554140, -0.19463680942, 0.04816327880, -0.00079660722, 0.01747374429, -4.1102509e-6,
               0.00502906638, -3.644061e-8},
              1e-11);
}

TEST(ImplicitFilter, AShorterLengthTakesTheFirstTaps) {
  FilterUnderTest f({.width = 8, .frequency = 3, .init = "framework", .decay_shift = 0.1}, 3, 10);
  const std::vector<double> whole = FilterUnderTest::by_time(f.filter.forward(10));
  const std::vector<double> part = FilterUnderTest::by_time(f.filter.forward(6));
  EXPECT_EQ(part.size(), 18u);
  EXPECT_LT(relative_error(part, {whole.begin(), whole.begin() + 18}), 1e-14);
}

TEST(ImplicitFilter, NormalizedOverTheChannels) {
  FilterUnderTest f({.width = 8, .init = "framework", .normalize = true}, 5, 6);
  const std::vector<double> taps = FilterUnderTest::by_time(f.filter.forward(6));
  for (size_t t = 0; t < 6; ++t) {
    double sum = 0;
    for (size_t c = 0; c < 5; ++c) sum += std::fabs(taps[t * 5 + c]);
    EXPECT_NEAR(sum, 1, 1e-12);
  }
}

TEST(ImplicitFilter, ShiftIsAddedToTheWindow) {
  const ImplicitFilterOptions plain{.width = 4, .init = "framework", .modulate = false},
      decayed{.width = 4, .init = "framework"}, shifted{.width = 4, .init = "framework", .decay_shift = 0.25};
  FilterUnderTest a(plain, 2, 5), b(decayed, 2, 5), c(shifted, 2, 5);
  const std::vector<double> h = a.filter.forward(5).to_host(), k = b.filter.forward(5).to_host(),
                            s = c.filter.forward(5).to_host();
  for (size_t i = 0; i < h.size(); ++i) EXPECT_NEAR(s[i], k[i] + 0.25 * h[i], 1e-14);
}

TEST(ImplicitFilter, WhatIsLearnedFollowsFromTheOptions) {
  const auto trainable = [](const ImplicitFilterOptions& options) {
    ImplicitFilter filter(options, 2, 5, 0.02, false);
    std::string out;
    filter.visit_parameters([&](const std::string& name, Parameter& p) {
      if (p.hints().trainable && name.find("forward") != 0) out += name + " ";
      EXPECT_EQ(p.hints().precision, Precision::f32) << name;
      if (name.find("forward") == 0) {
        EXPECT_EQ(p.hints().trainable, options.lr_scale > 0) << name;
      }
      EXPECT_EQ(p.hints().decay, Decay::never) << name;
    });
    return out;
  };
  EXPECT_EQ(trainable({}), "frequency ");
  EXPECT_EQ(trainable({.features_lr_scale = 1}), "features frequency ");
  EXPECT_EQ(trainable({.decay_lr_scale = 1}), "frequency decay ");
  EXPECT_EQ(trainable({.lr_scale = 0}), "");
}

}  // namespace
}  // namespace mara::nn
