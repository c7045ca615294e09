#include "ops/hyena_conv.h"

#include <gtest/gtest.h>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;
using Operator = Tensor (*)(const Tensor&, const ops::HyenaConvWeights&);

struct Form {
  int64_t length = 9, taps = 3, filter = 9;
  bool biases = true, skip = true;
};

OpCase of(const Form& f, Operator op) {
  std::vector<Argument> arguments{
      {{6, 2, f.length}}, {{6, f.taps}, Argument::parameter}, {{2, f.filter}, Argument::parameter}};
  if (f.biases) arguments.insert(arguments.end(), 2, {{6}, Argument::parameter});
  if (f.skip) arguments.push_back({{2}, Argument::parameter});
  return {detail::join(
              {"L ", f.length, " taps ", f.taps, " K ", f.filter, f.biases ? " biases" : "", f.skip ? " skip" : ""}),
          arguments, [f, op](const In& x) {
            return op(x[0], {.short_weight = x[1],
                             .filter = x[2],
                             .short_bias = f.biases ? x[3] : Tensor(),
                             .input_bias = f.biases ? x[4] : Tensor(),
                             .skip = f.skip ? x.back() : Tensor()});
          }};
}

constexpr Form kForms[] = {{}, {.biases = false}, {.skip = false}, {1, 3, 1}, {12, 4, 5}, {33, 1, 40}, {8, 9, 8}};

std::vector<OpCase> cases(Operator op) {
  std::vector<OpCase> out;
  for (const Form& form : kForms) out.push_back(of(form, op));
  return out;
}

class HyenaConvOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(HyenaConvOps);

TEST(HyenaConvGradients, MatchDifferences) { check_gradients(cases(ops::hyena_conv)); }
TEST_P(HyenaConvOps, MatchF64) { check_precision(cases(ops::hyena_conv), device()); }
TEST_P(HyenaConvOps, IsTheTwoConvolutions) {
  for (const Form& form : kForms) {
    check_same(
        of(form, ops::hyena_conv), [&](const In& x) { return of(form, ops::hyena_conv_composed).fn(x); }, device());
  }
}

TEST(HyenaConv, PaysWhereOneKernelTakesIt) {
  const auto pays = [](Dtype dtype, int64_t length, int64_t taps) {
    const Dtype wide = compute_dtype(dtype);
    return ops::hyena_conv_pays(Tensor::empty({3, 1, length}, dtype, kCpu),
                                {.short_weight = Tensor::empty({3, taps}, wide, kCpu)});
  };
  EXPECT_TRUE(pays(Dtype::bf16, 1024, 4) && pays(Dtype::bf16, 8192, 1));
  EXPECT_FALSE(pays(Dtype::f32, 1024, 3) || pays(Dtype::bf16, 1024, 5) || pays(Dtype::bf16, 1023, 3));
  EXPECT_FALSE(pays(Dtype::bf16, 512, 3) || pays(Dtype::bf16, 8200, 3));
}

TEST(HyenaConv, SaysWhatIsWrong) {
  const auto zeros = [](const Shape& shape, Dtype dtype = Dtype::f32) { return ops::full(shape, 0, dtype, kCpu); };
  const auto error_of = [](const Tensor& z, const ops::HyenaConvWeights& weights) -> std::string {
    try {
      ops::hyena_conv(z, weights);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const Tensor z = zeros({6, 2, 8});
  const ops::HyenaConvWeights good{zeros({6, 3}), zeros({2, 8}), zeros({6}), zeros({6}), zeros({2})};
  const auto with = [&](Tensor ops::HyenaConvWeights::*which, const Tensor& tensor) {
    ops::HyenaConvWeights weights = good;
    weights.*which = tensor;
    return error_of(z, weights);
  };
  using W = ops::HyenaConvWeights;
  EXPECT_EQ(error_of(z, good), "");
  EXPECT_NE(error_of(zeros({5, 2, 8}), good).find("z must be contiguous floating (3 D, B, L), got (5, 2, 8)"),
            std::string::npos);
  EXPECT_NE(error_of(zeros({6, 8}), good).find("got (6, 8) f32"), std::string::npos);
  EXPECT_NE(with(&W::short_weight, zeros({2, 3})).find("short_weight must be contiguous (6, at"), std::string::npos);
  EXPECT_NE(with(&W::short_weight, zeros({6, 65})).find("64 taps at most, got (6, 65)"), std::string::npos);
  EXPECT_NE(with(&W::filter, zeros({6, 8})).find("filter must be contiguous (2, at"), std::string::npos);
  EXPECT_NE(with(&W::filter, zeros({2, 8}, Dtype::bf16)).find("f32, got (2, 8) bf16"), std::string::npos);
  EXPECT_NE(with(&W::short_bias, zeros({2})).find("short_bias must be (6) f32, got (2) f32"), std::string::npos);
  EXPECT_NE(with(&W::input_bias, zeros({3})).find("input_bias must be (6) f32"), std::string::npos);
  EXPECT_NE(with(&W::skip, zeros({6})).find("skip must be (2) f32, got (6) f32"), std::string::npos);
}

}  // namespace
}  // namespace mara
