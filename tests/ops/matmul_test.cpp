#include "ops/matmul.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;
using ops::Unary;

std::vector<OpCase> cases() {
  std::vector<OpCase> out;
  for (const bool a : {false, true}) {
    for (const bool b : {false, true}) {
      const std::string name = std::string(a ? "a^T " : "a ") + (b ? "b^T" : "b");
      const Function product = [a, b](const In& x) { return ops::matmul(x[0], x[1], {.a = a, .b = b}); };
      const int64_t m = 5, k = 4, n = 3;
      out.push_back({name, {{a ? Shape{k, m} : Shape{m, k}}, {b ? Shape{n, k} : Shape{k, n}}}, product});
      out.push_back(
          {"batched " + name, {{a ? Shape{2, k, m} : Shape{2, m, k}}, {b ? Shape{2, n, k} : Shape{2, k, n}}}, product});
      if (a) continue;
      out.push_back({"batch times one " + name, {{{2, 3, m, k}}, {b ? Shape{n, k} : Shape{k, n}}}, product});
    }
  }
  out.push_back({"a a^T", {{{4, 3}}}, [](const In& x) { return ops::matmul(x[0], x[0], {.b = true}); }});

  const struct {
    const char* name;
    Tensor (*op)(const Tensor&, const Tensor&, const Tensor&);
    Shape x;
  } linears[] = {{"linear", ops::linear, {2, 5, 4}},
                 {"linear of rows", ops::linear, {5, 4}},
                 {"linear_to_channels", ops::linear_to_channels, {2, 5, 4}},
                 {"linear_from_channels", ops::linear_from_channels, {4, 2, 5}}};
  for (const auto& l : linears) {
    out.push_back({l.name, {{l.x}, {{3, 4}}}, [op = l.op](const In& x) { return op(x[0], x[1], {}); }});
    out.push_back({std::string(l.name) + " with bias",
                   {{l.x}, {{3, 4}}, {{3}, Argument::parameter}},
                   [op = l.op](const In& x) { return op(x[0], x[1], x[2]); }});
  }
  const std::vector<Argument> weights = {
      {{2, 5, 4}}, {{6, 4}}, {{6}, Argument::parameter}, {{3, 6}}, {{3}, Argument::parameter}};
  for (const Unary function : {Unary::gelu_tanh, Unary::silu}) {
    out.push_back(
        {"mlp", weights, [function](const In& x) { return ops::mlp(x[0], x[1], x[2], x[3], x[4], function); }});
  }
  out.push_back({"mlp without biases", {weights[0], weights[1], weights[3]}, [](const In& x) {
                   return ops::mlp(x[0], x[1], {}, x[2], {}, Unary::sin);
                 }});
  return out;
}

class MatmulOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(MatmulOps);

TEST(MatmulGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(MatmulOps, MatchF64) { check_precision(cases(), device()); }

TEST_P(MatmulOps, LinearFormsAreOneProductInOtherLayouts) {
  const OpCase by_tokens{"linear", {{{2, 5, 4}}, {{3, 4}}, {{3}, Argument::parameter}}, [](const In& x) {
                           return ops::linear(x[0], x[1], x[2]);
                         }};
  check_same(
      by_tokens,
      [](const In& x) {
        return ops::permute(ops::linear_to_channels(x[0], x[1], x[2]), {1, 2, 0});
      },
      device());
  check_same(
      by_tokens,
      [](const In& x) {
        return ops::linear_from_channels(ops::contiguous(ops::permute(x[0], {2, 0, 1})), x[1], x[2]);
      },
      device());
  check_same(
      by_tokens, [](const In& x) { return ops::bias(ops::matmul(x[0], x[1], {.b = true}), x[2]); }, device());
}

TEST_P(MatmulOps, MlpIsTwoLinearsAroundItsFunction) {
  for (const Unary function : {Unary::gelu_tanh, Unary::gelu, Unary::relu_squared}) {
    // Sizes that a library's epilogue takes, and that none does.
    for (const int64_t width : {int64_t{16}, int64_t{5}}) {
      const OpCase fused{"mlp",
                         {{{3, 7, width}},
                          {{2 * width, width}},
                          {{2 * width}, Argument::parameter},
                          {{width, 2 * width}},
                          {{width}, Argument::parameter}},
                         [&](const In& x) { return ops::mlp(x[0], x[1], x[2], x[3], x[4], function); }};
      const Function composed = [&](const In& x) {
        return ops::linear(ops::unary(function, ops::linear(x[0], x[1], x[2])), x[3], x[4]);
      };
      check_same(fused, composed, device());
      const In in = make_inputs(fused, Dtype::bf16, device());
      const Derivative actual = differentiate(fused.fn, in), expected = differentiate(composed, in);
      EXPECT_LE(relative_error(actual.value, expected.value), tolerance(Dtype::bf16));
      expect_near(actual.gradients, expected.gradients, tolerance(Dtype::bf16));
      // Unrecorded, where f's argument is not kept.
      EXPECT_LE(relative_error(fused.fn(in).to_host(), actual.value), tolerance(Dtype::bf16));
    }
  }
}

// Some inputs frozen: the rest get what they get together.
TEST_P(MatmulOps, MlpGivesOnlyTheGradientsWanted) {
  const OpCase c = cases().back();
  const In in = make_inputs(c, Dtype::f32, device());
  const Derivative all = differentiate(c.fn, in);
  for (size_t i = 0; i < in.size(); ++i) {
    std::vector<bool> wanted(in.size());
    wanted[i] = true;
    EXPECT_EQ(differentiate(c.fn, in, wanted).gradients[i], all.gradients[i]) << i;
  }
}

TEST_P(MatmulOps, ShapesAndValues) {
  const Tensor a = Tensor::from(Values{1, 2, 3, 4, 5, 6}, {2, 3}, Dtype::f32, device());
  EXPECT_EQ(ops::matmul(a, a, {.b = true}).to_host(), (Values{14, 32, 32, 77}));
  EXPECT_EQ(ops::matmul(a, a, {.a = true}).shape(), (Shape{3, 3}));
  const Tensor bias = Tensor::from(Values{100, 200}, {2}, Dtype::f32, device());
  const Tensor x = a.reshape({1, 2, 3});
  EXPECT_EQ(ops::linear(x, a, bias).to_host(), (Values{114, 232, 132, 277}));
  EXPECT_EQ(ops::linear_to_channels(x, a, bias).to_host(), (Values{114, 132, 232, 277}));
  EXPECT_EQ(ops::linear_to_channels(x, a, bias).shape(), (Shape{2, 1, 2}));
}

}  // namespace
}  // namespace mara
