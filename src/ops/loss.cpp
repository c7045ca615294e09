#include "ops/loss.h"

#include "autograd/tape.h"
#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/select.h"

namespace mara::ops {

Loss linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, bool predictions) {
  MARA_CHECK(x.rank() == 2 && x.contiguous() && weight.rank() == 2 && weight.contiguous() &&
                 weight.size(1) == x.size(1) && weight.dtype() == x.dtype() && is_float(x.dtype()),
             "linear_cross_entropy: input (N, D) and weight (V, D) of one floating dtype are required, got ", x.shape(),
             " ", x.dtype(), " and ", weight.shape(), " ", weight.dtype());
  MARA_CHECK(
      targets.dtype() == Dtype::i32 && targets.rank() == 1 && targets.size(0) == x.size(0) && targets.contiguous(),
      "linear_cross_entropy: ", x.size(0), " i32 targets are required, got ", targets.shape(), " ", targets.dtype());
  const Dtype wide = compute_dtype(x.dtype());
  const bool differentiate = will_record({x, weight});
  Loss out;
  out.token_loss = Tensor::empty({x.size(0)}, wide, x.device());
  out.sum = Tensor::empty({1}, wide, x.device());
  out.count = Tensor::empty({1}, wide, x.device());
  if (predictions) out.predictions = Tensor::empty({x.size(0)}, Dtype::i32, x.device());
  Tensor dx, dweight;
  if (differentiate) {
    dx = Tensor::empty_like(x);
    dweight = Tensor::empty(weight.shape(), wide, x.device());
  }
  auto [k, stream] = kernels::on(x.device());
  k.linear_cross_entropy(stream, {.x = x.view(),
                                  .w = weight.view(),
                                  .targets = targets.view(),
                                  .loss = out.token_loss.view(),
                                  .count = out.count.view(),
                                  .predictions = out.predictions.view(),
                                  .dx = dx.view(),
                                  .dw = dweight.view()});
  k.reduce_sum(stream, {.x = out.token_loss.reshape({1, x.size(0), 1}).view(), .y = out.sum.reshape({1, 1}).view()});
  out.sum = record("linear_cross_entropy", {x, weight}, out.sum, [dx, dweight](const Tensor& dy, Grads& g) {
    auto [k, stream] = kernels::on(dy.device());
    for (const auto& [input, gradient] : {std::pair{0, dx}, std::pair{1, dweight}}) {
      if (!g.wants(input)) continue;
      k.scale(stream, {.x = gradient.view(), .y = gradient.view(), .device_factor = dy.view()});
      g.add(input, gradient);
    }
  });
  return out;
}

Loss squared_error(const Tensor& x, const Tensor& values, const Tensor& targets) {
  MARA_CHECK(x.rank() == 1 && x.contiguous() && is_float(x.dtype()) && values.shape() == x.shape() &&
                 values.contiguous() && (values.dtype() == Dtype::f32 || values.dtype() == Dtype::f64),
             "squared_error: predictions (N) and as many f32 | f64 values are required, got ", x.shape(), " ",
             x.dtype(), " and ", values.shape(), " ", values.dtype());
  MARA_CHECK(targets.dtype() == Dtype::i32 && targets.shape() == x.shape() && targets.contiguous(),
             "squared_error: ", x.size(0), " i32 targets are required, got ", targets.shape(), " ", targets.dtype());
  const Dtype wide = compute_dtype(x.dtype());
  // Selected before it is squared too: the slope of a square that is not taken is 0 times a value that may be NaN.
  const Tensor zero = full(x.shape(), 0, wide, x.device()), one = full(x.shape(), 1, wide, x.device());
  const Tensor difference = select(targets, zero, add(cast(x, wide), scale(cast(values.detach(), wide), -1)));
  const Tensor squares = mul(difference, difference);
  return {.sum = sum_all(squares), .count = sum_all(select(targets, zero, one)), .token_loss = squares.detach()};
}

}  // namespace mara::ops
