#include "ops/matmul.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;

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
