#include "nn/multi_hyena.h"

#include "nn/mixer_contract.h"
#include "nn/outer_product.h"
#include "ops/fft_conv.h"

namespace mara::nn {
namespace {

class MultiHyenaContract : public testing::TestWithParam<MixerCase> {};
TEST_P(MultiHyenaContract, Holds) { check_mixer(GetParam()); }

const std::string kFilter = "filter: {width: 4, features: 5, frequency: 2, ";
INSTANTIATE_TEST_SUITE_P(
    Options, MultiHyenaContract,
    testing::Values(
        MixerCase{"kind: multi_hyena, heads: 2, " + kFilter + "init: framework}"},
        MixerCase{"kind: multi_hyena, heads: 6, skip: false, short_taps: 1, " + kFilter + "}"},
        MixerCase{.options = "kind: multi_hyena, heads: 1, " + kFilter + "modulate: false}", .width = 3, .length = 7},
        MixerCase{"kind: multi_hyena, heads: 3, " + kFilter + "}", false}));

Tensor rows(const std::vector<double>& values, int64_t count) {
  return Tensor::from(values, {count, 1, static_cast<int64_t>(values.size()) / count}, Dtype::f64, kCpu);
}

TEST(OuterProductHeads, SSM_G12) {
  const Tensor taps = Tensor::from(std::vector<double>{1, .5, .25}, {1, 3}, Dtype::f64, kCpu);
  const Tensor skip = Tensor::from(std::vector<double>{.3}, {1}, Dtype::f64, kCpu);
  const auto convolve = [&](int64_t, const Tensor& u, const Tensor& gate_in, const Tensor& gate_out) {
    return ops::fft_conv(u, taps, {.skip = skip, .gate_in = gate_in, .gate_out = gate_out});
  };
  const Tensor o = outer_product_heads(rows({1, .5, -1, .2, -.4, 1}, 2), rows({.5, 1, -1, 1, 2, 0}, 2),
                                       rows({1, -1, 2, .3, .6, -.2}, 2), 1, convolve);
  EXPECT_LT(relative_error(o.to_host(), {.91, .315, 2.225, .273, -.2565, .0775}), 1e-12);
}

TEST(MultiHyena, TheFilterForLaterPositionsBeginsWithTheNext) {
  const MixerUnderTest m({"kind: multi_hyena, heads: 2, skip: false, filter: {width: 4}", false}, Dtype::f64);
  assign(*m.mixer, "head_filter.forward.output.weight", std::vector<double>(8));
  expect_last_position_blind(m);
}

TEST(MultiHyena, RefusesHeadsAndLengths) {
  EXPECT_THROW(MixerUnderTest({.options = "kind: multi_hyena, heads: 4"}, Dtype::f32), Error);  // width 6
  const MixerUnderTest m({.options = "kind: multi_hyena, heads: 2, filter: {width: 4}"}, Dtype::f32);
  EXPECT_THROW(m.forward(Tensor::from(wave(78, 0), {1, 13, 6}, Dtype::f32, kCpu)), Error);
  EXPECT_THROW(m.mixer->start(1, 13), Error);
}

}  // namespace
}  // namespace mara::nn
