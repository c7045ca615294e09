#include "ops/elementwise.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

std::vector<OpCase> cases() {
  using namespace ops;
  std::vector<OpCase> out{
      {"reciprocal", {{{3, 5}, Argument::positive}}, [](const In& x) { return reciprocal(x[0]); }},
      {"scale", {{{3, 5}}}, [](const In& x) { return scale(x[0], -2.5); }},
      {"add", {{{3, 5}}, {{3, 5}}}, [](const In& x) { return add(x[0], x[1]); }},
      {"add one row", {{{4, 2, 3}}, {{3}}}, [](const In& x) { return add(x[0], x[1]); }},
      {"add one matrix", {{{4, 2, 3}}, {{2, 3}}}, [](const In& x) { return add(x[0], x[1]); }},
      {"add a scalar", {{{4, 3}}, {{}}}, [](const In& x) { return add(x[0], x[1]); }},
      {"bias", {{{4, 2, 3}}, {{3}, Argument::parameter}}, [](const In& x) { return bias(x[0], x[1]); }},
      {"mul", {{{3, 5}}, {{3, 5}}}, [](const In& x) { return mul(x[0], x[1]); }},
      {"mul one row", {{{4, 2, 3}}, {{3}, Argument::parameter}}, [](const In& x) { return mul(x[0], x[1]); }},
      {"mul one matrix", {{{4, 2, 3}}, {{2, 3}}}, [](const In& x) { return mul(x[0], x[1]); }},
      {"mul a scalar", {{{4, 3}}, {{}}}, [](const In& x) { return mul(x[0], x[1]); }},
      {"x + x", {{{3, 5}}}, [](const In& x) { return add(x[0], x[0]); }},
      {"x * x", {{{3, 5}}}, [](const In& x) { return mul(x[0], x[0]); }},
      {"(x + y) * x", {{{3, 5}}, {{3, 5}}}, [](const In& x) { return mul(add(x[0], x[1]), x[0]); }},
      {"sin x + (x + y)", {{{3, 5}}, {{3, 5}}}, [](const In& x) { return add(sin(x[0]), add(x[0], x[1])); }},
  };
  const std::pair<const char*, Tensor (*)(const Tensor&)> unaries[] = {{"gelu_tanh", gelu_tanh},
                                                                       {"gelu", gelu},
                                                                       {"silu", silu},
                                                                       {"relu", relu},
                                                                       {"relu_squared", relu_squared},
                                                                       {"sin", sin},
                                                                       {"exp", exp},
                                                                       {"abs", abs},
                                                                       {"sigmoid", sigmoid}};
  for (const auto& [name, f] : unaries) {
    out.push_back({name, {{{3, 50}}}, [f = f](const In& x) { return f(x[0]); }});
  }
  return out;
}

class ElementwiseOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(ElementwiseOps);

TEST(ElementwiseGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(ElementwiseOps, MatchF64) { check_precision(cases(), device()); }

TEST_P(ElementwiseOps, CastRoundsForwardAndBack) {
  const Tensor x = Tensor::from(Values{1, 1.00390625, -3}, {3}, Dtype::f32, device());
  const Function to_bf16 = [](const In& in) { return ops::cast(in[0], Dtype::bf16); };
  const Derivative d = differentiate(to_bf16, {x});
  EXPECT_EQ(d.value, (Values{1, 1, -3}));  // 1 + 2^-8 is half way, to even
  EXPECT_EQ(d.gradients[0], noise(3, 99));
  EXPECT_EQ(ops::cast(x, Dtype::f32).storage(), x.storage());
  const Tensor wide = Tensor::from(Values{0.1}, {1}, Dtype::f32, device());
  EXPECT_EQ(ops::cast(ops::cast(wide, Dtype::bf16), Dtype::f32).item(), ops::cast(wide, Dtype::bf16).item());
}

TEST_P(ElementwiseOps, SecondOperandMayHaveAnotherDtype) {
  const Tensor residual = Tensor::from(Values{1, 2}, {2}, Dtype::f32, device());
  const Tensor branch = Tensor::from(Values{0.001953125, 4}, {2}, Dtype::bf16, device());
  const Derivative sum = differentiate([](const In& in) { return ops::add(in[0], in[1]); }, {residual, branch});
  EXPECT_EQ(sum.value, (Values{1.001953125, 6}));  // bf16 would have lost the small one
  EXPECT_EQ(sum.gradients, (std::vector<Values>{noise(2, 99), noise(2, 99)}));
  const Derivative product = differentiate([](const In& in) { return ops::mul(in[0], in[1]); }, {residual, branch});
  EXPECT_EQ(product.value, (Values{0.001953125, 8}));
}

}  // namespace
}  // namespace mara
