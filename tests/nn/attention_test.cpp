#include "nn/attention.h"

#include "nn/mixer_contract.h"

namespace mara::nn {
namespace {

class AttentionContract : public testing::TestWithParam<MixerCase> {};
TEST_P(AttentionContract, Holds) { check_mixer(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Options, AttentionContract,
                         testing::Values(MixerCase{"kind: attention"},
                                         MixerCase{
                                             .options = "kind: attention, heads: 4", .rotary_base = 10000, .width = 16},
                                         MixerCase{.options = "kind: attention, heads: 2, bias: false, rotary_dim: 2",
                                                   .rotary_base = 100,
                                                   .width = 8,
                                                   .length = 7},
                                         MixerCase{"kind: attention, heads: 3", false}));

// Without positions attention does not care about the order of what it looks at; rotary positions make it care.
TEST(Attention, RotaryPositionsMatter) {
  const auto last_output_of_swapped = [](double base, bool swap) {
    const MixerUnderTest m({.options = "kind: attention", .rotary_base = base, .length = 3}, Dtype::f64);
    std::vector<double> x = m.x.to_host();
    if (swap) std::swap_ranges(x.begin(), x.begin() + 6, x.begin() + 6);
    const std::vector<double> y = m.forward(Tensor::from(x, m.x.shape(), Dtype::f64, kCpu)).to_host();
    return std::vector<double>(y.begin() + 12, y.begin() + 18);
  };
  EXPECT_LT(relative_error(last_output_of_swapped(0, true), last_output_of_swapped(0, false)), 1e-12);
  EXPECT_GT(relative_error(last_output_of_swapped(100, true), last_output_of_swapped(100, false)), 1e-3);
}

TEST(Attention, RefusesHeadsAndRotaryDimensions) {
  EXPECT_THROW(MixerUnderTest({.options = "kind: attention, heads: 4"}, Dtype::f32), Error);
  EXPECT_THROW(MixerUnderTest({.options = "kind: attention, heads: 2", .rotary_base = 100}, Dtype::f32), Error);
  EXPECT_THROW(MixerUnderTest({.options = "kind: attention, rotary_dim: 8", .rotary_base = 100}, Dtype::f32), Error);
  EXPECT_NO_THROW(MixerUnderTest({.options = "kind: attention, heads: 2"}, Dtype::f32));  // 3 is odd, but not turned
}

TEST(Mixer, UnknownKindNamesTheKinds) {
  try {
    MixerUnderTest({.options = "kind: hyenna"}, Dtype::f32);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("hyena"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace mara::nn
