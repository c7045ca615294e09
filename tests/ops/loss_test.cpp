#include "ops/loss.h"

#include <gtest/gtest.h>

#include "kernels/loss.h"
#include "op_cases.h"
#include "ops/gather.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/reduce.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;
using Ids = std::vector<int32_t>;

const Ids kTargets{2, kernels::kIgnoredTarget, 0, 4, kernels::kIgnoredTarget, 2, 1};

Tensor targets(Device device) { return Tensor::from(kTargets, {7}, device); }

OpCase sum_case() {
  return {"sum", {{{7, 4}}, {{5, 4}}}, [](const In& x) {
            return ops::linear_cross_entropy(x[0], x[1], targets(x[0].device()), false).sum;
          }};
}

std::vector<OpCase> cases() {
  return {sum_case(),
          {"sum, scaled",
           {{{7, 4}}, {{5, 4}}},
           [](const In& x) {
             return ops::scale(ops::linear_cross_entropy(x[0], x[1], targets(x[0].device()), false).sum, -0.125);
           }},
          {"tied weight", {{{7, 7}}}, [](const In& x) {
             return ops::linear_cross_entropy(ops::sin(x[0]), x[0], targets(x[0].device()), false).sum;
           }}};
}

// Softmax probabilities of the scored targets.
Tensor probabilities(const In& x) {
  Ids index;
  for (int32_t i = 0; i < 7; ++i) {
    if (kTargets[i] != kernels::kIgnoredTarget) index.push_back(5 * i + kTargets[i]);
  }
  const Tensor p = ops::softmax(ops::matmul(x[0], x[1], {.b = true}));
  return ops::gather(p.reshape({35}), 0, Tensor::from(index, {static_cast<int64_t>(index.size())}, x[0].device()));
}

class LossOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(LossOps);

TEST(LossGradients, MatchDifferences) { check_gradients(cases()); }
TEST_P(LossOps, MatchF64) { check_precision(cases(), device()); }

TEST_P(LossOps, EqualsMinusLogSoftmax) {
  for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
    if (dtype == Dtype::f64 && !(device() == kCpu)) continue;
    const In inputs = make_inputs(sum_case(), dtype, device());
    const Derivative loss = differentiate(sum_case().fn, inputs);
    double expected = 0;
    for (const double p : probabilities(inputs).to_host()) expected -= std::log(p);
    EXPECT_LE(relative_error(loss.value, {expected}), tolerance(dtype));
    // There is no log op; -p / p_0 at p = p_0 has the derivative of -log p.
    const Function composed = [](const In& x) {
      const Tensor p = probabilities(x);
      return ops::scale(ops::sum_all(ops::mul(p, ops::reciprocal(p.detach()))), -1);
    };
    expect_near(loss.gradients, differentiate(composed, inputs).gradients, tolerance(dtype));
  }
}

TEST_P(LossOps, WhatComesBesidesTheSum) {
  const In inputs = make_inputs(sum_case(), Dtype::f32, device());
  const ops::Loss loss = ops::linear_cross_entropy(inputs[0], inputs[1], targets(device()), true);
  EXPECT_EQ(loss.count.item(), 5);
  const Values losses = loss.token_loss.to_host();
  double sum = 0;
  for (size_t i = 0; i < losses.size(); ++i) {
    EXPECT_EQ(losses[i] == 0, kTargets[i] == kernels::kIgnoredTarget);
    sum += losses[i];
  }
  EXPECT_NEAR(loss.sum.item(), sum, 1e-5);
  const Values logits = ops::matmul(inputs[0], inputs[1], {.b = true}).to_host();
  for (size_t i = 0; i < 7; ++i) {
    const auto row = logits.begin() + static_cast<int64_t>(5 * i);
    EXPECT_EQ(loss.predictions.to_host_i32()[i], std::max_element(row, row + 5) - row);
  }
  EXPECT_FALSE(ops::linear_cross_entropy(inputs[0], inputs[1], targets(device()), false).predictions.defined());
}

TEST_P(LossOps, OnlyIgnoredTargets) {
  const Tensor none = Tensor::from(Ids(7, kernels::kIgnoredTarget), {7}, device());
  const auto sum = [&](const In& x) { return ops::linear_cross_entropy(x[0], x[1], none, false).sum; };
  const Derivative d = differentiate(sum, make_inputs(sum_case(), Dtype::f32, device()));
  EXPECT_EQ(d.value, Values{0});
  EXPECT_EQ(d.gradients, (std::vector<Values>{Values(28), Values(20)}));
}

// Without a tape the gradients, (N, D) and (V, D), are neither computed nor allocated.
TEST_P(LossOps, GradientsOnlyWhereTheyWillBeAskedFor) {
  Pool pool(device());
  const PoolScope scope(pool);
  const In inputs = make_inputs(sum_case(), Dtype::f32, device());
  const int64_t blocks = pool.live_blocks();
  ops::Loss loss = ops::linear_cross_entropy(inputs[0], inputs[1], targets(device()), false);
  EXPECT_EQ(pool.live_blocks(), blocks + 3);
  Tape tape;
  const Recording recording(tape);
  loss = ops::linear_cross_entropy(tape.source(inputs[0]), inputs[1], targets(device()), false);
  EXPECT_EQ(pool.live_blocks(), blocks + 5);
}

OpCase squared_error_case() {
  return {"squared error", {{{7}}}, [](const In& x) {
            const float none = std::nanf("");  // what is not scored may be anything
            const Values values{0.5, none, -1, 2, none, 0, 3};
            const Ids scored{0, kernels::kIgnoredTarget, 0, 0, kernels::kIgnoredTarget, 0, 0};
            return ops::squared_error(x[0], Tensor::from(values, {7}, Dtype::f32, x[0].device()),
                                      Tensor::from(scored, {7}, x[0].device()))
                .sum;
          }};
}

TEST(SquaredError, GradientMatchesDifferences) { check_gradients({squared_error_case()}); }
TEST_P(LossOps, SquaredErrorMatchesF64) { check_precision({squared_error_case()}, device()); }

TEST_P(LossOps, SquaredErrorByHand) {
  const Tensor x = Tensor::from(Values{1, 2, 3}, {3}, Dtype::f32, device());
  const Tensor values = Tensor::from(Values{-1, 7, 2.5}, {3}, Dtype::f32, device());
  const Ids scored{0, kernels::kIgnoredTarget, 0};
  const ops::Loss loss = ops::squared_error(x, values, Tensor::from(scored, {3}, device()));
  EXPECT_EQ(loss.token_loss.to_host(), (Values{4, 0, 0.25}));
  EXPECT_EQ(loss.sum.item(), 4.25);
  EXPECT_EQ(loss.count.item(), 2);
  EXPECT_THROW(ops::squared_error(x, values.narrow(0, 2), Tensor::from(scored, {3}, device())), Error);
  EXPECT_THROW(ops::squared_error(x, values, Tensor::from(Ids{0, 0}, {2}, device())), Error);
}

}  // namespace
}  // namespace mara
