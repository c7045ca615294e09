#include "nn/hyena.h"

#include <set>

#include "kernels/observer.h"
#include "nn/mixer_contract.h"
#include "nn/published_filter.h"

namespace mara::nn {
namespace {

class HyenaContract : public testing::TestWithParam<MixerCase> {};
TEST_P(HyenaContract, Holds) { check_mixer(GetParam()); }

const std::string kFilter = "filter: {width: 4, features: 5, frequency: 2, ";
INSTANTIATE_TEST_SUITE_P(
    Options, HyenaContract,
    testing::Values(
        MixerCase{"kind: hyena, " + kFilter + "init: framework}"},
        MixerCase{"kind: hyena, order: 3, short_taps: 2, " + kFilter + "decay_shift: 0.1}"},
        MixerCase{"kind: hyena, order: 4, inner_factor: 2, skip: false, " + kFilter + "modulate: false}"},
        MixerCase{.options = "kind: hyena, blocks: 3, activation: gelu, " + kFilter +
                             "features_lr_scale: 1, decay_lr_scale: 1}",
                  .generates = false},
        MixerCase{"kind: hyena, short_taps: 1, activation: silu, " + kFilter + "normalize: true, inner_layers: 0}"},
        MixerCase{"kind: hyena, order: 3, heads: 2, " + kFilter + "init: framework}"},
        MixerCase{"kind: hyena, heads: 3, mix_heads: true, skip: false, " + kFilter + "init: framework}"},
        MixerCase{"kind: hyena, order: 3, heads: 6, mix_heads: true, activation: silu, " + kFilter + "}", false},
        MixerCase{"kind: hyena, order: 3, activation: relu, " + kFilter + "slow_decay: 3}", false},
        MixerCase{
            .options = "kind: hyena, blocks: 2, " + kFilter + "features_lr_scale: 0.5}", .causal = false, .length = 14},
        MixerCase{.options = "kind: hyena, " + kFilter + "lr_scale: 0.1}", .width = 5, .length = 7}));

// The operator's core on given branches x_0, ..., x_{order-1}, v of one channel: channel 0 of a mixer whose projections
// pick input entry i as branch i, whose short convolution is the identity, and whose filter network sees one-hot
// positions, so that its output matrix holds the taps. filters[o] has 4 taps and then the skip.
std::vector<double> core(const std::vector<std::vector<double>>& branches,
                         const std::vector<std::vector<double>>& filters) {
  const size_t order = filters.size() + 1, width = order + 1, length = 4;
  const MixerCase c{.options = "kind: hyena, order: " + std::to_string(order) +
                               ", short_taps: 1, filter: {width: 4, features: 5, inner_layers: 0, modulate: false}",
                    .width = static_cast<int64_t>(width),
                    .length = static_cast<int64_t>(length)};
  const MixerUnderTest m(c, Dtype::f64);
  const auto zeros_but = [](size_t count, const std::vector<std::pair<size_t, double>>& entries) {
    std::vector<double> out(count);
    for (const auto& [index, value] : entries) out[index] = value;
    return out;
  };
  std::vector<std::pair<size_t, double>> x, in, positions, taps, skips;
  for (size_t i = 0; i < width; ++i) {
    in.push_back({i * width * width + i, 1});
    for (size_t t = 0; t < length; ++t) x.push_back({t * width + i, branches[i][t]});
  }
  for (size_t t = 0; t < length; ++t) positions.push_back({t * 5 + t, 1});
  for (size_t o = 0; o < filters.size(); ++o) {
    for (size_t t = 0; t < length; ++t) taps.push_back({o * length + t, filters[o][t]});
    skips.push_back({o, filters[o][length]});
  }
  for (const std::string bias : {"in_proj.bias", "out_proj.bias", "short_bias", "filter.forward.layer0.bias"}) {
    assign(*m.mixer, bias, std::vector<double>(parameter(*m.mixer, bias).shape().numel()));
  }
  assign(*m.mixer, "in_proj.weight", zeros_but(width * width * width, in));
  assign(*m.mixer, "short_weight", std::vector<double>(width * width, 1));
  assign(*m.mixer, "filter.features", zeros_but(length * 5, positions));
  assign(*m.mixer, "filter.frequency", std::vector<double>(4, std::acos(-1.0) / 2));
  assign(*m.mixer, "filter.forward.layer0.weight", zeros_but(4 * 5, {{0, 1}, {6, 1}, {12, 1}, {18, 1}}));
  assign(*m.mixer, "filter.forward.output.weight", zeros_but(filters.size() * width * 4, taps));
  assign(*m.mixer, "skip", zeros_but(filters.size() * width, skips));
  assign(*m.mixer, "out_proj.weight", zeros_but(width * width, {{0, 1}}));
  const Tensor input = Tensor::from(zeros_but(length * width, x), {1, c.length, c.width}, Dtype::f64, kCpu);
  const std::vector<double> y = m.forward(input).to_host();
  std::vector<double> first;
  for (size_t t = 0; t < length; ++t) first.push_back(y[t * width]);
  return first;
}

const std::vector<double> kX0 = {1, 2, -1, .5}, kX1 = {.5, -1, 1, 2}, kX2 = {2, 1, .5, -1}, kV = {1, -1, 2, 1};

TEST(Hyena, SSM_G9_order2) {
  EXPECT_LT(relative_error(core({kX0, kX1, kV}, {{1, .5, .25, .125, .7}}), {.85, 3.9, -4.025, 2.35625}), 1e-12);
}

TEST(Hyena, SSM_G9_order3) {
  const std::vector<double> y = core({kX0, kX1, kX2, kV}, {{1, .5, .25, .125, .7}, {.3, -.2, .1, .05, -.4}});
  EXPECT_LT(relative_error(y, {-.17, -.82, .14, .0275}), 1e-12);
}

// The published Monarch mixer without its residual convolution is a bidirectional Hyena of order 2. It multiplies by
// its first branch before the convolution and by its second after it, so these trade places.
TEST(Hyena, Monarch_20_8_mixer_without_residual) {
  const MixerCase c{.options = "kind: hyena, filter: {width: 3, features: 5, frequency: 10}",
                    .causal = false,
                    .width = 2,
                    .length = 4};
  const MixerUnderTest m(c, Dtype::f64);
  const auto swapped = [](std::vector<double> rows, size_t columns) {
    std::swap_ranges(rows.begin(), rows.begin() + 2 * columns, rows.begin() + 2 * columns);
    return rows;
  };
  assign(*m.mixer, "in_proj.weight", swapped(wave(12, 200, .5), 2));
  assign(*m.mixer, "in_proj.bias", swapped(wave(6, 201, .1), 1));
  assign(*m.mixer, "out_proj.weight", wave(4, 202, .5));
  assign(*m.mixer, "out_proj.bias", wave(2, 203, .1));
  assign(*m.mixer, "short_weight", swapped(wave(18, 204, .4), 3));
  assign(*m.mixer, "short_bias", swapped(wave(6, 205, .1), 1));
  assign(*m.mixer, "skip", wave(2, 0, .5));
  assign_monarch_filter(*m.mixer, "filter.");
  const Tensor y = m.forward(Tensor::from(wave(8, 300), {1, 4, 2}, Dtype::f64, kCpu));
  EXPECT_LT(relative_error(y.to_host(), {0.04865673573, -0.01962149328, 0.04800605277, -0.01936104187, 0.05201838906,
                                         -0.02238358254, 0.04588768523, -0.01835890865}),
            1e-9);
}

// A filter that is one tap c at lag 0 adds to the skip D: order 2 is (c + D) x_0 x_1 v.
TEST(Hyena, OneTapIsAProduct) {
  const std::vector<double> y = core({kX0, kX1, kV}, {{2, 0, 0, 0, -.5}});
  for (size_t t = 0; t < 4; ++t) EXPECT_NEAR(y[t], 1.5 * kX0[t] * kX1[t] * kV[t], 1e-12);
}

// With heads that have filters of their own, alike, a model does what one with tied heads does.
TEST(Hyena, HeadsShareFilters) {
  const std::string rest = "order: 3, filter: {width: 4, frequency: 2, modulate: false}";
  const MixerUnderTest tied({.options = "kind: hyena, heads: 3, " + rest}, Dtype::f64);
  const MixerUnderTest apart({.options = "kind: hyena, " + rest}, Dtype::f64);
  const auto repeated = [&](const std::string& name) {  // 4 rows of one head's 2 channels -> 12
    const std::vector<double> rows = parameter(*tied.mixer, name).value().to_host();
    std::vector<double> out;
    for (int head = 0; head < 3; ++head) out.insert(out.end(), rows.begin(), rows.end());
    assign(*apart.mixer, name, out);
  };
  for (const std::string& name : names(*tied.mixer)) {
    if (name == "skip" || name == "filter.forward.output.weight") continue;
    assign(*apart.mixer, name, parameter(*tied.mixer, name).value().to_host());
  }
  EXPECT_GT(relative_error(tied.forward(tied.x).to_host(), apart.forward(apart.x).to_host()), 0.01);  // control
  repeated("skip");
  repeated("filter.forward.output.weight");
  EXPECT_LT(relative_error(tied.forward(tied.x).to_host(), apart.forward(apart.x).to_host()), 1e-12);
}

TEST(Hyena, MixedHeads) {
  const std::string rest = "heads: 2, filter: {width: 4, frequency: 2}";
  const MixerUnderTest plain({.options = "kind: hyena, " + rest}, Dtype::f64);
  const MixerUnderTest mixed({.options = "kind: hyena, mix_heads: true, " + rest}, Dtype::f64);
  for (const std::string& name : names(*plain.mixer)) {
    assign(*mixed.mixer, name, parameter(*plain.mixer, name).value().to_host());
  }
  const std::vector<double> y = plain.forward(plain.x).to_host();
  assign(*mixed.mixer, "head_mixing", {1, 0, 0, 1});
  EXPECT_LT(relative_error(mixed.forward(mixed.x).to_host(), y), 1e-12);
  // Both heads replaced by their sum: rows of the output matrix for one head see what those of the other see.
  assign(*mixed.mixer, "head_mixing", {1, 1, 1, 1});
  EXPECT_GT(relative_error(mixed.forward(mixed.x).to_host(), y), 0.01);
}

// Blocks are mixed on their own but for the short convolution, which reaches back short_taps - 1 positions.
TEST(Hyena, BlocksAreApart) {
  const auto reach = [](int64_t blocks) {
    const MixerUnderTest m(
        {.options = "kind: hyena, filter: {width: 4, frequency: 2}, blocks: " + std::to_string(blocks)}, Dtype::f64);
    std::vector<double> x = m.x.to_host();
    const std::vector<double> before = m.forward(m.x).to_host();
    x[0] += 1;  // position 0 of row 0
    const std::vector<double> after = m.forward(Tensor::from(x, m.x.shape(), Dtype::f64, kCpu)).to_host();
    int64_t last = 0;
    for (int64_t i = 0; i < 12 * 6; ++i) {
      if (std::fabs(before[static_cast<size_t>(i)] - after[static_cast<size_t>(i)]) > 1e-9) last = i / 6;
    }
    return last;
  };
  EXPECT_EQ(reach(3), 3);
  EXPECT_EQ(reach(1), 11);  // control
}

TEST(Hyena, DropoutOnlyInTraining) {
  const MixerUnderTest m({.options = "kind: hyena, dropout: 0.5, filter: {width: 4}"}, Dtype::f32);
  const MixerUnderTest without({.options = "kind: hyena, filter: {width: 4}"}, Dtype::f32);
  expect_dropout_in_training(m, without, 1);  // one long convolution
}

// In bf16 at a length at which ops::hyena_conv pays, whether a form is one for it or not.
TEST(Hyena, EveryFormOfLongRowsIsRight) {
  const std::vector<double> dy = wave(2 * 1024 * 4, 2.1);
  for (const std::string form : {"", ", heads: 2", ", skip: false", ", heads: 2, mix_heads: true", ", order: 3",
                                 ", blocks: 2", ", activation: gelu"}) {
    for (const bool causal : {true, false}) {
      const MixerCase c{.options = "kind: hyena, filter: {width: 4, frequency: 2}" + form,
                        .causal = causal,
                        .width = 4,
                        .length = 1024,
                        .generates = form != ", blocks: 2"};
      MixerUnderTest exact(c, Dtype::f64);
      const MixerRun want(exact, dy);
      for (const Device device : devices_present()) {
        MixerUnderTest m(c, Dtype::bf16, device);
        const MixerRun got(m, dy);
        EXPECT_LT(relative_error(got.y, want.y), 0.02) << c;
        EXPECT_LT(relative_error(got.dx, want.dx), 0.03) << c;
        EXPECT_LT(relative_error(got.dparameters, want.dparameters), 0.05) << c;
        if (c.causal && c.generates) {
          EXPECT_LT(relative_error(in_portions(m, {1000, 1, 23}), got.y), 0.02) << c;
        }
      }
      if (form.empty()) {
        assign(*exact.mixer, "short_bias", std::vector<double>(12, 0));
        EXPECT_GT(relative_error(exact.forward(exact.x).to_host(), want.y), 0.05);  // control
      }
    }
  }
}

// The kernels of a forward.
struct Names final : kernels::ObserverOf<Names> {
  template <class Args>
  void launched(const char* name, kernels::Entry<Args>, const Args&) {
    seen.insert(name);
  }
  std::set<std::string> seen;
};

TEST(Hyena, OnePassIsTakenWhereItPays) {
  const auto taken = [](const std::string& options, bool training = false, int64_t length = 1024,
                        Dtype dtype = Dtype::bf16, bool causal = true) {
    const MixerSetup setup{.width = 4, .max_length = length, .causal = causal};
    const auto mixer = MixerUnderTest::make({.options = "kind: hyena" + options}, setup);
    const ParameterArena arena(*mixer, kMeta, dtype, 1);
    int64_t step = 0;
    RandomStream random{.seed = 3, .step = &step};
    const RandomScope scope(random);
    Names names;
    const kernels::ObserverScope observed(names);
    mixer->forward(Tensor::empty({1, length, 4}, dtype, kMeta), {.training = training});
    EXPECT_NE(names.seen.contains("hyena_conv_forward"), names.seen.contains("short_conv_forward")) << options;
    return names.seen.contains("hyena_conv_forward");
  };
  EXPECT_TRUE(taken("") && taken(", heads: 2, skip: false, inner_factor: 2") && taken(", dropout: 0.5"));
  EXPECT_FALSE(taken(", dropout: 0.5", true) || taken(", order: 3") || taken(", blocks: 2"));
  EXPECT_FALSE(taken(", activation: gelu") || taken(", heads: 2, mix_heads: true") || taken(", short_taps: 5"));
  EXPECT_FALSE(taken("", false, 512) || taken("", false, 1000) || taken("", false, 1024, Dtype::f32) ||
               taken("", false, 1024, Dtype::bf16, false));
}

TEST(Hyena, RefusesLengths) {
  const MixerUnderTest m({.options = "kind: hyena, blocks: 3, filter: {width: 4}"}, Dtype::f32);
  EXPECT_NO_THROW(m.forward(Tensor::from(wave(36, 0), {1, 6, 6}, Dtype::f32, kCpu)));
  EXPECT_THROW(m.forward(Tensor::from(wave(30, 0), {1, 5, 6}, Dtype::f32, kCpu)), Error);   // not in 3 pieces
  EXPECT_THROW(m.forward(Tensor::from(wave(90, 0), {1, 15, 6}, Dtype::f32, kCpu)), Error);  // too long
  EXPECT_THROW(MixerUnderTest({.options = "kind: hyena, blocks: 5"}, Dtype::f32), Error);
  EXPECT_THROW(MixerUnderTest({.options = "kind: hyena, order: 1"}, Dtype::f32), Error);
  EXPECT_THROW(MixerUnderTest({.options = "kind: hyena, heads: 4"}, Dtype::f32), Error);  // width 6
  EXPECT_THROW(MixerUnderTest({.options = "kind: hyena, mix_heads: true"}, Dtype::f32), Error);
}

}  // namespace
}  // namespace mara::nn
