// Linear, Norm, Embedding, Mlp and Block against hand computations or the ops they are made of.

#include <gtest/gtest.h>

#include "core/random.h"
#include "nn/block.h"
#include "nn/embedding.h"
#include "nn/parameters.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"

namespace mara::nn {
namespace {

Tensor f64(const std::vector<double>& values, const Shape& shape) {
  return Tensor::from(values, shape, Dtype::f64, kCpu);
}

void expect_near(const Tensor& actual, const std::vector<double>& expected, double error = 1e-12) {
  const std::vector<double> values = actual.to_host();
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], error) << i;
}

TEST(Linear, ByHand) {
  Linear linear(2, 3, Init::zeros(), {.bias_init = Init::ones()});
  const ParameterArena arena(linear, kCpu, Dtype::f64, 1);
  expect_near(linear.forward(f64({5, 6}, {1, 2})), {1, 1, 1});
  assign(linear, "weight", {1, 2, 3, 4, 5, 6});
  assign(linear, "bias", {.5, 0, -.5});
  const Tensor x = f64({1, -1, 2, 0}, {1, 2, 2});
  expect_near(linear.forward(x), {-.5, -1, -1.5, 2.5, 6, 9.5});
  const Tensor channels = linear.forward_to_channels(x);  // (B, L, D) -> (E, B, L)
  EXPECT_EQ(channels.shape(), (Shape{3, 1, 2}));
  expect_near(channels, {-.5, 2.5, -1, 6, -1.5, 9.5});
  const Tensor back = linear.forward_from_channels(f64({1, 2, -1, 0}, {2, 1, 2}));  // (D, B, L) -> (B, L, E)
  EXPECT_EQ(back.shape(), (Shape{1, 2, 3}));
  expect_near(back, {-.5, -1, -1.5, 2.5, 6, 9.5});
}

TEST(Linear, WithoutBias) {
  Linear linear(2, 1, Init::ones(), {.bias = false});
  const ParameterArena arena(linear, kCpu, Dtype::f64, 1);
  EXPECT_EQ(names(linear), std::vector<std::string>{"weight"});
  expect_near(linear.forward(f64({5, 6}, {1, 2})), {11});
}

TEST(Norm, ByHand) {
  const std::unique_ptr<Norm> layer = make_norm("layer", 4, Dtype::f64), rms = make_norm("rms", 4, Dtype::f64);
  const ParameterArena a(*layer, kCpu, Dtype::f64, 1), b(*rms, kCpu, Dtype::f64, 1);
  const Tensor x = f64({1, 2, 3, 4}, {1, 4});
  const double deviation = std::sqrt(1.25 + 1e-5), square = std::sqrt(7.5 + 1e-5);
  expect_near(layer->forward(x), {-1.5 / deviation, -.5 / deviation, .5 / deviation, 1.5 / deviation});
  expect_near(rms->forward(x), {1 / square, 2 / square, 3 / square, 4 / square});
  assign(*layer, "gain", {1, 2, 3, 4});
  assign(*layer, "bias", {0, 0, 1, 0});
  expect_near(layer->forward(x), {-1.5 / deviation, -1 / deviation, 1 + 1.5 / deviation, 6 / deviation});
  assign(*rms, "gain", {0, 0, 0, 1});
  expect_near(rms->forward(x), {0, 0, 0, 4 / square});
}

TEST(Norm, ReadsTheStreamAndWritesTheComputeDtype) {
  const std::unique_ptr<Norm> norm = make_norm("layer", 4, Dtype::bf16);
  const ParameterArena arena(*norm, kCpu, Dtype::bf16, 1);
  EXPECT_EQ(norm->forward(Tensor::from(wave(8, 0), {2, 4}, Dtype::f32, kCpu)).dtype(), Dtype::bf16);
}

TEST(Embedding, ByHand) {
  Embedding embedding(3, 2, Init::zeros(), Dtype::f64);
  const ParameterArena arena(embedding, kCpu, Dtype::f64, 1);
  assign(embedding, "table", {0, 1, 10, 11, 20, 21});
  const Tensor y = embedding.forward(Tensor::from(std::vector<int32_t>{2, 0, 1, 2}, {2, 2}, kCpu));
  EXPECT_EQ(y.shape(), (Shape{2, 2, 2}));
  expect_near(y, {20, 21, 0, 1, 10, 11, 20, 21});
  EXPECT_EQ(parameter(embedding, "table").hints().decay, Decay::vector);
}

struct MlpCase {
  MlpConfig config;
  Mlp mlp;
  ParameterArena arena;
  explicit MlpCase(const MlpConfig& c, int64_t width = 4)
      : config(c), mlp(c, width, 1, 1), arena(mlp, kCpu, Dtype::f64, 1) {
    assign_waves(arena);
  }
  Tensor operator[](const std::string& name) { return parameter(mlp, name).value(); }
};

TEST(Mlp, IsWhatItSays) {
  const Tensor x = f64(wave(12, 0.5), {3, 4});
  for (const std::string kind : {"gelu", "swiglu"}) {
    MlpCase m({.kind = kind, .ratio = 1.5});
    EXPECT_EQ(m["in.weight"].shape(), (Shape{6, 4}));
    const Tensor hidden = ops::linear(x, m["in.weight"], m["in.bias"]);
    const Tensor inner = kind == "gelu"
                             ? ops::gelu_tanh(hidden)
                             : ops::mul(ops::silu(hidden), ops::linear(x, m["value.weight"], m["value.bias"]));
    expect_near(m.mlp.forward(x, {}), ops::linear(inner, m["out.weight"], m["out.bias"]).to_host());
  }
}

// For as long as it lives, dropout can draw.
struct Randomness {
  int64_t step = 0;
  RandomStream stream{.seed = 5, .step = &step};
  RandomScope scope{stream};
};

TEST(Mlp, DropoutOnlyInTraining) {
  Randomness random;
  MlpCase with({.dropout = 0.5}), without({});
  const Tensor x = f64(wave(12, 0.5), {3, 4});
  expect_near(with.mlp.forward(x, {}), without.mlp.forward(x, {}).to_host());
  EXPECT_EQ(random.stream.next_op, 0u);
  EXPECT_GT(relative_error(with.mlp.forward(x, {.training = true}).to_host(), with.mlp.forward(x, {}).to_host()), 0.01);
  expect_near(without.mlp.forward(x, {.training = true}), without.mlp.forward(x, {}).to_host());
}

// A mixer that doubles, so that a block can be followed by hand.
struct Doubling : SequenceMixer {
  Tensor forward(const Tensor& x, const Context&) override { return ops::scale(x, 2); }
};

TEST(Block, IsWhatItSays) {
  const Tensor x = f64(wave(24, 0.5), {2, 3, 4});
  for (const std::string norm : {"layer", "rms"}) {
    Block block(std::make_unique<Doubling>(), std::make_unique<Mlp>(MlpConfig{}, 4, 1, 1), norm, 4, Dtype::f64, 0);
    const ParameterArena arena(block, kCpu, Dtype::f64, 1);
    const std::unique_ptr<Norm> plain = make_norm(norm, 4, Dtype::f64);  // gain 1, bias 0, as in the block
    const ParameterArena other(*plain, kCpu, Dtype::f64, 1);
    const Tensor mixed = ops::add(x, ops::scale(plain->forward(x), 2));
    Mlp mlp({}, 4, 1, 1);
    const ParameterArena mlp_arena(mlp, kCpu, Dtype::f64, 1);
    for (const std::string& name : names(mlp)) {
      assign(mlp, name, parameter(block, "mlp." + name).master().to_host());
    }
    expect_near(block.forward(x, {}), ops::add(mixed, mlp.forward(plain->forward(mixed), {})).to_host());

    Block short_block(std::make_unique<Doubling>(), nullptr, norm, 4, Dtype::f64, 0);
    const ParameterArena short_arena(short_block, kCpu, Dtype::f64, 1);
    expect_near(short_block.forward(x, {}), mixed.to_host());
  }
}

TEST(Block, KeepsTheDtypeOfTheStream) {
  Block block(std::make_unique<Doubling>(), std::make_unique<Mlp>(MlpConfig{}, 4, 1, 1), "layer", 4, Dtype::bf16, 0);
  const ParameterArena arena(block, kCpu, Dtype::bf16, 1);
  EXPECT_EQ(block.forward(Tensor::from(wave(8, 0), {1, 2, 4}, Dtype::f32, kCpu), {}).dtype(), Dtype::f32);
}

TEST(Block, ResidualDropoutOnlyInTraining) {
  Randomness random;
  Block block(std::make_unique<Doubling>(), nullptr, "layer", 4, Dtype::f64, 0.5);
  const ParameterArena arena(block, kCpu, Dtype::f64, 1);
  const Tensor x = f64(wave(400, 0.5), {1, 100, 4});
  const std::vector<double> whole = block.forward(x, {}).to_host(),
                            dropped = block.forward(x, {.training = true}).to_host(), stream = x.to_host();
  EXPECT_EQ(random.stream.next_op, 1u);
  int64_t kept = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    const double branch = whole[i] - stream[i], left = dropped[i] - stream[i];
    EXPECT_TRUE(left == 0 || std::fabs(left - 2 * branch) < 1e-9) << "only the branch is dropped";
    kept += left != 0;
  }
  EXPECT_NEAR(static_cast<double>(kept), 200, 50);
}

}  // namespace
}  // namespace mara::nn
