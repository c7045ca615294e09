#include "nn/h3.h"

#include "nn/mixer_contract.h"
#include "nn/outer_product.h"
#include "ops/fft_conv.h"

namespace mara::nn {
namespace {

class H3Contract : public testing::TestWithParam<MixerCase> {};
TEST_P(H3Contract, Holds) { check_mixer(GetParam()); }

MixerCase h3(const std::string& options, bool causal = true, int64_t width = 6, int64_t length = 12) {
  return {.options = "kind: h3, " + options,
          .causal = causal,
          .width = width,
          .length = length,
          .constant_state = causal,
          .rescaled_output = false};
}
MixerCase h3_conv(const std::string& options, bool causal = true) {
  return {.options = "kind: h3_conv, " + options, .causal = causal, .rescaled_output = false};
}

INSTANTIATE_TEST_SUITE_P(Options, H3Contract,
                         testing::Values(h3("shift_state: 4, ssm: {state: 4}"),
                                         h3("head_dim: 3, shift_state: 5, ssm: {state: 6, discretization: zoh}"),
                                         h3("head_dim: 5, shift_state: 9, ssm: {state: 2, lr_scale: 0.1}", true, 5, 7),
                                         h3("shift_state: 1, ssm: {state: 4, init: legs, systems: 2}"),
                                         h3("head_dim: 2, shift_state: 4, ssm: {state: 4, init: inv}", false),
                                         h3_conv("filter: {squash: 0.2}"),
                                         h3_conv("filter: {smooth: 3, init: double_exponential}", false)));

Tensor rows(const std::vector<double>& values, int64_t count) {
  return Tensor::from(values, {count, 1, static_cast<int64_t>(values.size()) / count}, Dtype::f64, kCpu);
}
Tensor matrix(const std::vector<double>& values, int64_t count) {
  return Tensor::from(values, {count, static_cast<int64_t>(values.size()) / count}, Dtype::f64, kCpu);
}
Tensor vector(const std::vector<double>& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())}, Dtype::f64, kCpu);
}

const std::vector<double> kQ = {1, .5, -1, 2, .2, -.4, 1, 1}, kK = {.5, 1, -1, 0, 1, 2, 0, -1},
                          kV = {1, -1, 2, .5, .3, .6, -.2, 1}, kShifted = {.3, .725, -.35, -.25, .8, 1.1, -.75, -.3};

// The published core of the layer on given q, k, v of two channels, backward with ones.
Derivative core(int64_t heads, const std::vector<double>& memory, const std::vector<double>& skip) {
  Tape tape;
  std::vector<Tensor> in{rows(kQ, 2), rows(kShifted, 2), rows(kV, 2), matrix(memory, heads), vector(skip)};
  for (Tensor& x : in) x = tape.source(x);
  Tensor o;
  {
    const Recording recording(tape);
    o = outer_product_heads(in[0], in[1], in[2], heads,
                            [&](int64_t, const Tensor& u, const Tensor& gate_in, const Tensor& gate_out) {
                              return ops::fft_conv(u, in[3], {.skip = in[4], .gate_in = gate_in, .gate_out = gate_out});
                            });
  }
  tape.backward(o, rows(std::vector<double>(8, 1), 2), {});
  Derivative out{o.to_host(), {}};
  for (const Tensor& x : in) out.gradients.push_back(tape.take_grad(x).to_host());
  return out;
}

TEST(H3, SSM_G6_keys) {
  const Tensor keys =
      ops::fft_conv(rows(kK, 2), matrix({.5, .25, 0, 0, 1, -.5, .25, 0}, 2), {.skip = vector({.1, -.2})});
  EXPECT_LT(relative_error(keys.to_host(), kShifted), 1e-12);
}

TEST(H3, SSM_G6_heads_of_one_channel) {
  const Derivative d = core(2, {1, .8, .64, .512, .5, .25, .125, .0625}, {.3, -.1});
  EXPECT_LT(relative_error(d.value, {.39, -.35125, 1.298, -2.0658, .0192, -.1296, .255, .015}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[0], {.39, -.7025, -1.298, -1.0329, .096, .324, .255, .015}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[1], {2.084, -1.13, .6, 1.3, .05025, .129, -.13, .4}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[2], {.6252, .81925, -.105, -.65, .134, .2365, -.4875, -.12}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[3], {.3875, -.525, -1.75, .6, -.366, .714, .9, .24}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[4], {.3875, -.366}), 1e-9);
}

TEST(H3, SSM_G6_a_head_of_two_channels) {
  const Derivative d = core(1, {1, .8, .64, .512}, {.3});
  const std::vector<double> dv{1.4988, 1.83125, -1.68, -1.04, 1.4988, 1.83125, -1.68, -1.04};
  EXPECT_LT(relative_error(d.value, {.598, -.03525, -1.02, -3.7552, .1794, -.10125, .38, .38624}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[0], {.507, -.065, -.8014, -.97742, 1.352, .26, -1.4414, -1.41412}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[1], {2.7092, -.452, .54, 3.9, 1.4196, -.368, 3.78, 1.95}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[2], dv), 1e-9);
  EXPECT_LT(relative_error(d.gradients[3], {-1.291, -2.981, -.37, 1.82}), 1e-9);
  EXPECT_LT(relative_error(d.gradients[4], {-1.291}), 1e-9);
}

void copy_all_but(const MixerUnderTest& from, const MixerUnderTest& to, const std::vector<std::string>& but) {
  for (const std::string& name : names(*from.mixer)) {
    if (std::find(but.begin(), but.end(), name) != but.end()) continue;
    assign(*to.mixer, name, parameter(*from.mixer, name).value().to_host());
  }
}

// Two ways to let keys pass unchanged, and a third that does not.
TEST(H3, KeysThatPass) {
  const MixerCase c{"kind: h3, shift_state: 3, ssm: {state: 4}"};
  const MixerUnderTest taps(c, Dtype::f64), skip(c, Dtype::f64);
  const std::vector<double> zeros(18);
  std::vector<double> first(18);
  for (size_t i = 0; i < 18; i += 3) first[i] = 1;
  assign(*taps.mixer, "shift_b", first);
  assign(*taps.mixer, "shift_c", first);
  assign(*taps.mixer, "key_skip", std::vector<double>(6));
  assign(*skip.mixer, "shift_c", zeros);
  assign(*skip.mixer, "key_skip", std::vector<double>(6, 1));
  EXPECT_LT(relative_error(taps.forward(taps.x).to_host(), skip.forward(skip.x).to_host()), 1e-12);
  std::vector<double> second(18);
  for (size_t i = 1; i < 18; i += 3) second[i] = 1;
  assign(*taps.mixer, "shift_c", second);  // the key before
  EXPECT_GT(relative_error(taps.forward(taps.x).to_host(), skip.forward(skip.x).to_host()), 0.01);
}

// With keys that pass and the same filter in every head, H3 and MultiHyena are the same layer.
TEST(H3, IsMultiHyenaWithoutTheShift) {
  const MixerUnderTest h3({.options = "kind: h3, head_dim: 3, shift_state: 2, ssm: {state: 4}", .length = 4},
                          Dtype::f64);
  const MixerUnderTest hyena({.options = "kind: multi_hyena, heads: 2, short_taps: 1, filter: {width: 4, features: 5, "
                                         "inner_layers: 0, modulate: false}",
                              .length = 4},
                             Dtype::f64);
  assign(*h3.mixer, "shift_c", std::vector<double>(12));
  assign(*h3.mixer, "key_skip", std::vector<double>(6, 1));
  copy_all_but(
      h3, hyena,
      {"key_skip", "shift_b", "shift_c", "ssm.log_dt", "ssm.log_decay", "ssm.frequency", "ssm.b", "ssm.c", "ssm.p"});
  assign(*hyena.mixer, "short_weight", std::vector<double>(18, 1));
  assign(*hyena.mixer, "short_bias", std::vector<double>(18));
  // The filter network sees one-hot positions, so that its output matrix holds the taps: those of H3's systems, which
  // are impulse responses. Entry 0 of a head's k meets entry 0 of its v.
  std::vector<double> positions(20), picks(20), taps;
  for (size_t t = 0; t < 4; ++t) positions[5 * t + t] = 1, picks[5 * t + t] = 1;
  DiagonalSsmOptions options;
  options.state = 4;
  options.discretization = "bilinear";
  DiagonalSsm ssm(options, 2);
  const ParameterArena arena(ssm, kCpu, Dtype::f64, 1);
  for (const std::string& name : names(ssm)) assign(ssm, name, parameter(*h3.mixer, "ssm." + name).value().to_host());
  assign(*hyena.mixer, "head_filter.features", positions);
  assign(*hyena.mixer, "head_filter.frequency", std::vector<double>(4, std::acos(-1.0) / 2));
  assign(*hyena.mixer, "head_filter.forward.layer0.weight", picks);
  assign(*hyena.mixer, "head_filter.forward.layer0.bias", std::vector<double>(4));
  assign(*hyena.mixer, "head_filter.forward.output.weight", ssm.filter(4).to_host());
  EXPECT_LT(relative_error(h3.forward(h3.x).to_host(), hyena.forward(h3.x).to_host()), 1e-10);
}

// Weights made by hand that look a value up by its key, as the paper explains the layer. Tokens are unit vectors: keys
// 0, 1, 2 and values 3, 4, 5. Channel 3 a + b meets key a, delayed by one position, with value b; its system counts how
// often it did; a query for a reads the counts of its three channels, and the output adds them to the values' entries.
std::vector<double> recalled(const std::vector<int>& tokens, int64_t delay) {
  const MixerCase c{.options = "kind: h3, shift_state: 2, ssm: {state: 2}",
                    .width = 9,
                    .length = static_cast<int64_t>(tokens.size())};
  const MixerUnderTest m(c, Dtype::f64);
  std::vector<double> in(27 * 9), out(81), first(18), shift(18), modes(18), half(18), x(tokens.size() * 9);
  for (size_t a = 0; a < 3; ++a) {
    for (size_t b = 0; b < 3; ++b) {
      const size_t channel = 3 * a + b;
      in[channel * 9 + a] = in[(9 + channel) * 9 + a] = in[(18 + channel) * 9 + 3 + b] = 1;
      out[(3 + b) * 9 + channel] = 1;
      first[2 * channel] = shift[2 * channel + static_cast<size_t>(delay)] = 1;
      modes[2 * channel] = 1, half[2 * channel] = .5;  // 2 Re(b c) = 1
    }
  }
  for (size_t t = 0; t < tokens.size(); ++t) x[9 * t + static_cast<size_t>(tokens[t])] = 1;
  assign(*m.mixer, "in_proj.weight", in);
  assign(*m.mixer, "out_proj.weight", out);
  assign(*m.mixer, "shift_b", first);
  assign(*m.mixer, "shift_c", shift);
  assign(*m.mixer, "ssm.b", modes);
  assign(*m.mixer, "ssm.c", half);
  assign(*m.mixer, "ssm.log_decay", std::vector<double>(9, -18));  // forgets nothing
  for (const std::string name : {"in_proj.bias", "out_proj.bias", "key_skip", "skip", "ssm.log_dt", "ssm.frequency"}) {
    assign(*m.mixer, name, std::vector<double>(static_cast<size_t>(parameter(*m.mixer, name).shape().numel())));
  }
  const std::vector<double> y = m.forward(Tensor::from(x, {1, c.length, 9}, Dtype::f64, kCpu)).to_host();
  return {y.end() - 6, y.end() - 3};  // what the last token reads, by value
}

TEST(H3, RecallsByHand) {
  const auto expect_counts = [](const std::vector<int>& tokens, const std::vector<double>& counts) {
    EXPECT_LT(relative_error(recalled(tokens, 1), counts), 1e-6);
  };
  expect_counts({0, 4, 1, 3, 2, 4, 0, 4, 1}, {1, 0, 0});
  expect_counts({0, 4, 1, 3, 2, 4, 0, 4, 0}, {0, 2, 0});
  expect_counts({0, 4, 1, 3, 2, 5, 0, 4, 2}, {0, 0, 1});
  expect_counts({0, 4, 1, 3, 0, 4, 2}, {0, 0, 0});  // a key that was not there
  EXPECT_LT(relative_error(recalled({0, 4, 1, 3, 0}, 0), {0, 0, 0}),
            1e-6);  // control: without the delay they never meet
}

TEST(H3, TheFilterForLaterPositionsBeginsWithTheNext) {
  const MixerUnderTest system(h3("head_dim: 2, shift_state: 4, ssm: {state: 4}", false), Dtype::f64),
      taps(h3_conv("filter: {squash: 0}", false), Dtype::f64);
  for (const auto& [m, name] : {std::pair{&system, "ssm.c"}, {&taps, "memory_filter.taps"}}) {
    std::vector<double> filters = parameter(*m->mixer, name).value().to_host();
    std::fill_n(filters.begin(), filters.size() / 2, 0.0);
    assign(*m->mixer, name, filters);
    assign(*m->mixer, "skip", std::vector<double>(static_cast<size_t>(parameter(*m->mixer, "skip").shape().numel())));
    expect_last_position_blind(*m);
  }
}

TEST(H3, RefusesHeads) {
  EXPECT_THROW(MixerUnderTest({.options = "kind: h3, head_dim: 4"}, Dtype::f32), Error);  // width 6
  EXPECT_NO_THROW(MixerUnderTest({.options = "kind: h3, head_dim: 2"}, Dtype::f32));
  const MixerUnderTest conv({.options = "kind: h3_conv"}, Dtype::f32);
  EXPECT_THROW(conv.mixer->start(1, 13), Error);
}

TEST(H3, StartsAsPublished) {
  const MixerUnderTest m({.options = "kind: h3"}, Dtype::f32);  // assigned waves: look at the initial values alone
  const Parameter &b = parameter(*m.mixer, "shift_b"), &c = parameter(*m.mixer, "shift_c");
  Tensor values = Tensor::empty({6, 64}, Dtype::f32, kCpu);
  b.init().fill(values, 1, "b");
  for (int64_t i = 0; i < 6 * 64; ++i) EXPECT_EQ(values.to_host()[static_cast<size_t>(i)], i % 64 == 0 ? 1 : 0);
  c.init().fill(values, 1, "c");
  for (const double v : values.to_host()) EXPECT_LE(std::fabs(v), 0.125);
  EXPECT_EQ(b.hints().decay, Decay::never);
  EXPECT_EQ(b.hints().max_lr, 1e-3f);
  EXPECT_EQ(c.hints().decay, Decay::matrix);
}

}  // namespace
}  // namespace mara::nn
