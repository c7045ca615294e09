#include "nn/parameter_arena.h"

#include <gmock/gmock.h>

#include "nn/linear.h"
#include "nn/parameters.h"
#include "ops/elementwise.h"

namespace mara::nn {
namespace {

using testing::ElementsAre;

struct Inner : Module {
  Inner() {
    gain = &param("gain", {3}, Init::ones(), kVector);
    param("shift", {3}, Init::zeros(), kVector);
    table =
        &param("table", {2, 2}, Init::values([](int64_t i) { return static_cast<double>(i); }), {.trainable = false});
  }
  Parameter *gain, *table;
};

struct Tree : Module {
  explicit Tree(bool reversed = false) {
    scale = &param("scale", {5}, Init::normal(1), {.lr_scale = 0.5f});
    if (reversed) inner = &child("inner", std::make_unique<Inner>());
    linear = &child("blocks.0", std::make_unique<Linear>(7, 11, Init::normal(1)));
    if (!reversed) inner = &child("inner", std::make_unique<Inner>());
  }
  Parameter* scale;
  Linear* linear;
  Inner* inner;
};

TEST(Module, NamesInOrderOfRegistration) {
  Tree tree;
  const auto expected =
      ElementsAre("scale", "blocks.0.weight", "blocks.0.bias", "inner.gain", "inner.shift", "inner.table");
  EXPECT_THAT(names(tree), expected);
  const ParameterArena arena(tree, kCpu, Dtype::f32, 1);
  EXPECT_THAT(names(tree), expected);  // binding gives full names; visiting again must not repeat prefixes
  EXPECT_EQ(tree.inner->gain->name(), "inner.gain");
}

TEST(ParameterArena, Layout) {
  Tree tree;
  const ParameterArena arena(tree, kCpu, Dtype::bf16, 1);
  EXPECT_EQ(arena.parameter_count(), 5 + 77 + 11 + 3 + 3);
  std::vector<std::string> registered, placed;
  for (const Parameter* p : arena.parameters()) registered.push_back(p->name());
  EXPECT_THAT(registered, ElementsAre("scale", "blocks.0.weight", "blocks.0.bias", "inner.gain", "inner.shift"));
  int64_t last = 0;
  for (const ParameterArena::Range& r : arena.ranges()) {
    placed.push_back(r.parameter->name());
    EXPECT_GE(r.begin, last);
    EXPECT_EQ(r.end - r.begin, r.parameter->shape().numel());
    EXPECT_EQ(r.parameter->master().view().data, arena.master().view().ptr<float>() + r.begin);
    EXPECT_EQ(r.parameter->grad().view().data, arena.grad().view().ptr<float>() + r.begin);
    for (const Tensor& tensor : {r.parameter->master(), r.parameter->grad(), r.parameter->value()}) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().data) % 256, 0u) << r.parameter->name();
    }
    last = r.end;
  }
  EXPECT_THAT(placed, ElementsAre("inner.shift", "inner.gain", "blocks.0.bias", "blocks.0.weight", "scale"));
  // The gaps are zero: norms and the optimiser sweep over them.
  double outside = 0, inside = 0;
  const std::vector<double> master = arena.master().to_host();
  size_t next = 0;
  for (const ParameterArena::Range& r : arena.ranges()) {
    for (; next < static_cast<size_t>(r.begin); ++next) outside += std::fabs(master[next]);
    for (; next < static_cast<size_t>(r.end); ++next) inside += std::fabs(master[next]);
  }
  EXPECT_EQ(outside, 0);
  EXPECT_GT(inside, 10);
}

TEST(ParameterArena, ComputeCopiesAreRoundedMasters) {
  Tree tree;
  const ParameterArena arena(tree, kCpu, Dtype::bf16, 1);
  const Tensor& value = parameter(tree, "blocks.0.weight").value();
  EXPECT_EQ(value.dtype(), Dtype::bf16);
  const std::vector<double> master = parameter(tree, "blocks.0.weight").master().to_host(), copy = value.to_host();
  for (size_t i = 0; i < master.size(); ++i) {
    EXPECT_EQ(copy[i], static_cast<double>(bf16(static_cast<float>(master[i]))));
  }
  EXPECT_NE(master, copy);
  for (const std::string name : {"blocks.0.bias", "inner.gain", "inner.table"}) {  // kept wide
    EXPECT_EQ(parameter(tree, name).value().dtype(), Dtype::f32) << name;
    EXPECT_EQ(parameter(tree, name).value().view().data, parameter(tree, name).master().view().data) << name;
  }
}

TEST(ParameterArena, F64ForGradientChecks) {
  Tree tree;
  const ParameterArena arena(tree, kCpu, Dtype::f64, 1);
  for (const Tensor& tensor : {arena.master(), arena.grad(), tree.scale->value(), tree.inner->table->value()}) {
    EXPECT_EQ(tensor.dtype(), Dtype::f64);
  }
  EXPECT_FALSE(arena.compute().defined());
}

TEST(ParameterArena, InitialValuesDoNotDependOnOrder) {
  Tree a, b(true);
  const ParameterArena first(a, kCpu, Dtype::f32, 1), second(b, kCpu, Dtype::f32, 1);
  for (const std::string& name : names(a)) {
    EXPECT_EQ(parameter(a, name).master().to_host(), parameter(b, name).master().to_host()) << name;
  }
  Tree c;
  const ParameterArena other(c, kCpu, Dtype::f32, 2);
  EXPECT_NE(c.scale->master().to_host(), a.scale->master().to_host());
}

TEST(ParameterArena, HintsAreKept) {
  Tree tree;
  const ParameterArena arena(tree, kCpu, Dtype::f32, 1);
  EXPECT_EQ(tree.scale->hints().lr_scale, 0.5f);
  EXPECT_EQ(parameter(tree, "blocks.0.weight").hints().decay, Decay::matrix);
  EXPECT_EQ(parameter(tree, "blocks.0.bias").hints().decay, Decay::vector);
  EXPECT_FALSE(tree.inner->table->hints().trainable);
  EXPECT_FALSE(tree.inner->table->grad().defined());
  EXPECT_EQ(tree.inner->table->value().to_host(), (std::vector<double>{0, 1, 2, 3}));
}

TEST(ParameterArena, StepsForgetAndZero) {
  Tree tree;
  ParameterArena arena(tree, kCpu, Dtype::f32, 1);
  const auto use = [&](double factor) {  // gradient `factor` for scale, none for the others
    Tape tape;
    Tensor out;
    {
      const Recording recording(tape);
      out = ops::scale(tree.scale->value(), factor);
    }
    tape.backward(out, Tensor::from(std::vector<double>(5, 1), {5}, Dtype::f32, kCpu), {});
  };
  auto [k, stream] = kernels::on(kCpu);
  k.fill(stream, {.y = arena.grad().view(), .value = 9});  // an earlier step's
  arena.begin_step();
  use(2);
  use(3);
  arena.finish_step();
  EXPECT_EQ(tree.scale->grad().to_host(), std::vector<double>(5, 5));  // accumulated within the step
  EXPECT_EQ(tree.inner->gain->grad().to_host(), std::vector<double>(3, 0));
  arena.begin_step();
  use(4);
  arena.finish_step();
  EXPECT_EQ(tree.scale->grad().to_host(), std::vector<double>(5, 4));  // overwritten, not added
}

TEST(ParameterArena, MetaNeedsNoMemory) {
  struct Huge : Module {
    Huge() { param("weight", {1 << 20, 1 << 20}, Init::normal(1)); }
  } huge;
  const ParameterArena arena(huge, kMeta, Dtype::bf16, 1);
  EXPECT_EQ(arena.parameter_count(), int64_t{1} << 40);
  EXPECT_EQ(arena.memory_bytes(), int64_t{10} << 40);
}

}  // namespace
}  // namespace mara::nn
