#include "nn/s4.h"

#include "core/thrown.h"
#include "nn/mixer_contract.h"

namespace mara::nn {
namespace {

class S4Contract : public testing::TestWithParam<MixerCase> {};
TEST_P(S4Contract, Holds) { check_mixer(GetParam()); }

MixerCase goes_on(const std::string& options, int64_t width = 6, int64_t length = 12) {
  return {.options = options, .width = width, .length = length, .constant_state = true};
}

INSTANTIATE_TEST_SUITE_P(
    Options, S4Contract,
    testing::Values(goes_on("kind: s4d, ssm: {state: 4}"), goes_on("kind: s4d, ssm: {state: 6, init: inv, systems: 2}"),
                    goes_on("kind: s4d, ssm: {state: 4, init: inv2, discretization: bilinear}, output: linear"),
                    goes_on("kind: s4d, ssm: {state: 2, init: quad, rate: 2}, activation: silu"),
                    goes_on("kind: s4d, ssm: {state: 4, init: legs, lr_scale: 0.1}", 5, 7),
                    goes_on("kind: s4d, ssm: {state: 4, init: legs}, activation: relu", 9),
                    goes_on("kind: s4d, ssm: {state: 4, init: random}, activation: identity, output: none"),
                    goes_on("kind: s4d, ssm: {state: 4, init: real}"), goes_on("kind: s4, ssm: {state: 4}"),
                    goes_on("kind: s4, ssm: {state: 6, systems: 3, period: 64, rate: 2}, output: linear"),
                    goes_on("kind: s4, ssm: {state: 2}, output: none", 5, 7),
                    MixerCase{"kind: s4d, ssm: {state: 4}", false},
                    MixerCase{"kind: s4, ssm: {state: 4, systems: 1}", false}));

TEST(S4, EvaluatesAtOtherLengths) {
  const MixerUnderTest m({"kind: s4d, ssm: {state: 4}"}, Dtype::f64);
  const Tensor longer = Tensor::from(wave(40 * 6, 0.3), {1, 40, 6}, Dtype::f64, kCpu);
  const std::vector<double> y = m.forward(longer).to_host();
  const std::vector<double> first = m.forward(ops::contiguous(ops::slice(longer, 1, 0, 12))).to_host();
  EXPECT_LT(relative_error({y.begin(), y.begin() + 12 * 6}, first), 1e-12);
  const MixerUnderTest s4({"kind: s4, ssm: {state: 4}"}, Dtype::f64);  // its period is 16
  EXPECT_NO_THROW(s4.forward(ops::contiguous(ops::slice(longer, 1, 0, 16))));
  EXPECT_THROW(s4.forward(longer), Error);
}

TEST(S4, DropoutOnlyInTraining) {
  expect_dropout_in_training(MixerUnderTest({"kind: s4d, dropout: 0.5, ssm: {state: 4}"}, Dtype::f32),
                             MixerUnderTest({"kind: s4d, ssm: {state: 4}"}, Dtype::f32), 1);
}

TEST(S4, TheFilterForLaterPositionsBeginsWithTheNext) {
  for (const char* kind : {"s4d", "s4"}) {
    const MixerUnderTest m({std::string("kind: ") + kind + ", ssm: {state: 4}", false}, Dtype::f64);
    std::vector<double> c = parameter(*m.mixer, "ssm.c").value().to_host();
    std::fill_n(c.begin(), c.size() / 2, 0.0);
    assign(*m.mixer, "ssm.c", c);
    assign(*m.mixer, "skip", std::vector<double>(6));
    expect_last_position_blind(m);
  }
}

TEST(S4, RefusesInconsistentOptions) {
  const auto message = [](const std::string& options) {
    return message_of<Error>([&] { MixerUnderTest::make({options}, {.width = 6, .max_length = 12}); });
  };
  EXPECT_NE(message("kind: s4d, ssm: {state: 5}").find("must be even"), std::string::npos);
  EXPECT_NE(message("kind: s4d, ssm: {systems: 4}").find("must divide the number of channels (h3: heads), 6, got 4"),
            std::string::npos);
  EXPECT_NE(message("kind: s4d, ssm: {dt_min: 1}").find("at most dt_max"), std::string::npos);
  EXPECT_NE(message("kind: s4d, ssm: {init: hippo}").find("one of lin"), std::string::npos);
  EXPECT_NE(message("kind: s4, ssm: {rate: 3}").find("power of two, since it divides the period, got 3"),
            std::string::npos);
  EXPECT_NE(message("kind: s4, ssm: {period: 24}").find("power of two"), std::string::npos);
  EXPECT_NE(message("kind: s4, ssm: {period: 8}").find("12 positions"), std::string::npos);
  EXPECT_NE(message("kind: s4, ssm: {period: 16, rate: 2}").find("12 positions"), std::string::npos);
  EXPECT_NE(message("kind: s4, output: gate").find("one of glu"), std::string::npos);
}

// The period is part of what the learned c means: a recipe that leaves it open is written down with the one it got, and
// does not read its weights as those of another.
TEST(S4, ThePeriodStaysWithTheWeights) {
  struct Mapping {
    MixerConfig config;
    int64_t max_length;
    void fields(config::Fields& f) { config.fields(f, {.width = 6, .max_length = max_length}); }
  };
  const auto read = [](const std::string& text, int64_t max_length) {
    Mapping mapping{{}, max_length};
    config::Document::parse(text, "mixer.yaml").read(mapping);
    return config::to_yaml(mapping);
  };
  const std::string resolved = read("{kind: s4}", 12);
  EXPECT_NE(resolved.find("period: 16"), std::string::npos) << resolved;
  EXPECT_EQ(read(resolved, 16), resolved);
  EXPECT_EQ(read(resolved, 5), resolved);
  const std::string error = message_of<Error>([&] { read(resolved, 17); });
  EXPECT_NE(error.find("17 positions, at this rate, got 16"), std::string::npos) << error;
  for (const char* rate : {"2", "0.5", "0.0009765625"}) {  // the period is in steps of rate 1
    const std::string stretched = read(std::string("{kind: s4, ssm: {rate: ") + rate + "}}", 12);
    EXPECT_EQ(read(stretched, 12), stretched) << stretched;
    EXPECT_EQ(stretched.find("period: 0"), std::string::npos) << stretched;
  }
}

}  // namespace
}  // namespace mara::nn
