// The check itself: right gradients pass, wrong ones do not.

#include "gradient_check.h"

#include <gtest/gtest.h>

#include "ops/elementwise.h"

namespace mara {
namespace {

Tensor f64(int64_t count, uint32_t seed) { return Tensor::from(noise(count, seed), {count}, Dtype::f64, kCpu); }

// x * y with the gradient of y too large by `error` and, if `swapped`, the two gradients exchanged.
Function product(double error, bool swapped = false) {
  return [=](const std::vector<Tensor>& in) {
    const Tensor x = in[0].detach(), y = in[1].detach();
    return record("product", {in[0], in[1]}, ops::mul(x, y), [=](const Tensor& dy, Grads& g) {
      g.add(swapped, ops::mul(dy, y));
      g.add(!swapped, ops::scale(ops::mul(dy, x), 1 + error));
    });
  };
}

TEST(GradientCheck, PassesRightAndReportsWrongGradients) {
  const std::vector<Tensor> inputs{f64(7, 1), f64(7, 2)};
  EXPECT_LE(gradient_error(product(0), inputs), kGradientBound);
  EXPECT_GT(gradient_error(product(1e-5), inputs), kGradientBound);
  EXPECT_GT(gradient_error(product(0, true), inputs), kGradientBound);
  EXPECT_TRUE(std::isnan(gradient_error(product(std::nan("")), inputs)));
}

TEST(GradientCheck, ReportsALostGradient) {
  const Function detached = [](const std::vector<Tensor>& in) { return ops::sin(in[0].detach()); };
  EXPECT_GT(gradient_error(detached, {f64(5, 3)}), 0.1);
}

}  // namespace
}  // namespace mara
