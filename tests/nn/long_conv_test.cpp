#include "nn/long_conv.h"

#include "nn/mixer_contract.h"

namespace mara::nn {
namespace {

class LongConvContract : public testing::TestWithParam<MixerCase> {};
TEST_P(LongConvContract, Holds) { check_mixer(GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Options, LongConvContract,
    testing::Values(
        MixerCase{"kind: long_conv"},
        MixerCase{"kind: long_conv, filters: 2, filter: {squash: 0.2, init: double_exponential}"},
        MixerCase{.options = "kind: long_conv, filter: {smooth: 3, smooth_frequency: 5}", .width = 5, .length = 7},
        MixerCase{"kind: long_conv, filters: 2, filter: {lr_scale: 0.1, squash: 0, dropout: 0.2}", false},
        MixerCase{"kind: long_conv, filters: 2, activation: silu, output: linear"},
        MixerCase{"kind: long_conv, output: none"}));

TEST(LongConv, OneFilterWithoutAnOutputMap) {
  EXPECT_THROW(MixerUnderTest({"kind: long_conv, filters: 2, output: none"}, Dtype::f32), Error);
  EXPECT_NO_THROW(MixerUnderTest({"kind: long_conv, filters: 2, output: linear"}, Dtype::f32));
}

TEST(LongConv, RefusesLengths) {
  const MixerUnderTest m({.options = "kind: long_conv"}, Dtype::f32);
  EXPECT_NO_THROW(m.forward(Tensor::from(wave(30, 0), {1, 5, 6}, Dtype::f32, kCpu)));
  EXPECT_THROW(m.forward(Tensor::from(wave(78, 0), {1, 13, 6}, Dtype::f32, kCpu)), Error);
  EXPECT_THROW(m.mixer->start(1, 13), Error);
  EXPECT_THROW(MixerUnderTest({.options = "kind: long_conv, filter: {smooth: 2}"}, Dtype::f32), Error);
  EXPECT_THROW(MixerUnderTest({.options = "kind: long_conv, filter: {smooth: 65}"}, Dtype::f32), Error);
}

TEST(LongConv, DropoutOnlyInTraining) {
  const MixerUnderTest without({"kind: long_conv"}, Dtype::f32);
  for (const char* options : {"dropout: 0.5", "filter: {dropout: 0.5}"}) {
    expect_dropout_in_training(MixerUnderTest({std::string("kind: long_conv, ") + options}, Dtype::f32), without, 1);
  }
}

TEST(LongConv, TheFilterForLaterPositionsBeginsWithTheNext) {
  const MixerUnderTest m({"kind: long_conv, filters: 2, filter: {squash: 0}", false}, Dtype::f64);
  std::vector<double> taps = parameter(*m.mixer, "filter.taps").value().to_host();
  std::fill_n(taps.begin(), taps.size() / 4 * 3, 0.0);  // all but the second filter for later positions
  assign(*m.mixer, "filter.taps", taps);
  assign(*m.mixer, "skip", std::vector<double>(12));
  expect_last_position_blind(m);
}

// y = a sigmoid(b) of gelu(conv + skip): filter 1 of channel 0 alone, read by output 0 with b = 0.
TEST(LongConv, OneFilterOfTwo) {
  const MixerCase c{.options = "kind: long_conv, filters: 2, filter: {squash: 0}", .width = 2, .length = 4};
  const MixerUnderTest m(c, Dtype::f64);
  std::vector<double> taps(16), weight(16), expected;
  taps[8] = 1, taps[9] = .5;  // row 2: filter 1 of channel 0
  weight[2] = 1;              // output 0 reads row 2
  assign(*m.mixer, "filter.taps", taps);
  assign(*m.mixer, "skip", {0, 0, .25, 0});
  assign(*m.mixer, "output.proj.weight", weight);
  assign(*m.mixer, "output.proj.bias", {0, 0, 0, 0});
  const std::vector<double> x = m.x.to_host(), y = m.forward(m.x).to_host();
  for (size_t t = 0; t < 4; ++t) {
    const double u = 1.25 * x[2 * t] + (t > 0 ? .5 * x[2 * t - 2] : 0);
    EXPECT_NEAR(y[2 * t], .5 * u / 2 * (1 + std::erf(u / std::sqrt(2.0))), 1e-12);
    EXPECT_EQ(y[2 * t + 1], 0);
  }
}

}  // namespace
}  // namespace mara::nn
