#include "ops/short_conv.h"

#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/grad_target.h"
#include "ops/shape_ops.h"

namespace mara::ops {

Tensor short_conv(const Tensor& u, const Tensor& weight, const Tensor& bias, const Tensor& input_bias) {
  MARA_CHECK(u.rank() == 3 && u.contiguous() && is_float(u.dtype()),
             "short_conv: u must be contiguous floating (D, B, L), got ", u.shape(), " ", u.dtype());
  MARA_CHECK(weight.rank() == 2 && weight.size(0) == u.size(0) && weight.size(1) >= 1 && weight.size(1) <= 64 &&
                 weight.dtype() == compute_dtype(u.dtype()),
             "short_conv: weight must be (", u.size(0), ", 1 to 64 taps) ", compute_dtype(u.dtype()), ", got ",
             weight.shape(), " ", weight.dtype());
  const auto check_bias = [&](const char* name, const Tensor& b) {
    MARA_CHECK(!b.defined() || (b.shape() == Shape{u.size(0)} && b.dtype() == weight.dtype()), "short_conv: ", name,
               " must be (", u.size(0), ") ", weight.dtype(), ", got ", b.shape(), " ", b.dtype());
  };
  check_bias("bias", bias);
  check_bias("input_bias", input_bias);
  Tensor y = Tensor::empty_like(u);
  auto [k, stream] = kernels::on(u.device());
  k.short_conv_forward(
      stream,
      {.u = u.view(), .weight = weight.view(), .bias = bias.view(), .y = y.view(), .input_bias = input_bias.view()});
  return record("short_conv", {u, weight, bias, input_bias}, y, [=](const Tensor& dy, Grads& g) {
    GradTarget du(g, 0, u);
    const Grads::Slot dweight = slot_if_wanted(g, 1, weight), dbias = slot_if_wanted(g, 2, bias);
    const Grads::Slot dinput_bias = slot_if_wanted(g, 3, input_bias);
    auto [k, stream] = kernels::on(u.device());
    k.short_conv_backward(stream, {.dy = dy.view(),
                                   .u = u.view(),
                                   .weight = weight.view(),
                                   .du = du.view(),
                                   .dweight = dweight.dst,
                                   .dbias = dbias.dst,
                                   .accumulate_weight = dweight.accumulate,
                                   .accumulate_bias = dbias.accumulate,
                                   .input_bias = input_bias.view(),
                                   .dinput_bias = dinput_bias.dst,
                                   .accumulate_input_bias = dinput_bias.accumulate});
    du.commit();
  });
}

Tensor short_conv_composed(const Tensor& u, const Tensor& weight, const Tensor& bias, const Tensor& input_bias) {
  // Channels last, so that a tap or a bias is a suffix of the shape and broadcasts.
  const auto channels_last = [](const Tensor& x) { return contiguous(permute(x, {1, 2, 0})); };
  const auto channels_first = [](const Tensor& x) { return contiguous(permute(x, {2, 0, 1})); };
  const Tensor x = input_bias.defined() ? channels_first(add(channels_last(u), input_bias)) : u;
  const int64_t channels = u.size(0), rows = u.size(1), length = u.size(2), taps = weight.size(1);
  Tensor zeros = Tensor::empty({channels, rows, taps - 1}, u.dtype(), u.device());
  auto [k, stream] = kernels::on(u.device());
  k.fill(stream, {.y = zeros.view(), .value = 0});
  const Tensor padded = concat({zeros, x}, 2);
  Tensor y;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const Tensor shifted = channels_last(slice(padded, 2, tap, length));
    const Tensor term = mul(shifted, contiguous(slice(weight, 1, tap, 1)).reshape({channels}));
    y = y.defined() ? add(y, term) : term;
  }
  if (bias.defined()) y = add(y, bias);
  return channels_first(y);
}

}  // namespace mara::ops
