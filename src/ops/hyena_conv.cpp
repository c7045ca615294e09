#include "ops/hyena_conv.h"

#include <limits>

#include "kernels/kernels.h"
#include "ops/fft_conv.h"
#include "ops/grad_target.h"
#include "ops/short_conv.h"

namespace mara::ops {

Tensor hyena_conv(const Tensor& z, const HyenaConvWeights& weights) {
  MARA_CHECK(z.rank() == 3 && z.contiguous() && z.numel() > 0 && is_float(z.dtype()) && z.size(0) % 3 == 0,
             "hyena_conv: z must be contiguous floating (3 D, B, L), got ", z.shape(), " ", z.dtype());
  const auto& [short_weight, filter, short_bias, input_bias, skip] = weights;
  const int64_t projected = z.size(0), channels = projected / 3;
  const Dtype wide = compute_dtype(z.dtype());
  const auto check = [&](const char* name, const Tensor& t, int64_t rows, int64_t most) {
    MARA_CHECK(t.rank() == 2 && t.contiguous() && t.size(0) == rows && t.size(1) >= 1 && t.size(1) <= most &&
                   t.dtype() == wide,
               "hyena_conv: ", name, " must be contiguous (", rows, ", at least one tap) ", wide,
               most == 64 ? " with 64 taps at most" : "", ", got ", t.shape(), " ", t.dtype());
  };
  check("short_weight", short_weight, projected, 64);
  check("filter", filter, channels, std::numeric_limits<int64_t>::max());
  const auto check_vector = [&](const char* name, const Tensor& t, int64_t rows) {
    MARA_CHECK(!t.defined() || (t.shape() == Shape{rows} && t.dtype() == wide), "hyena_conv: ", name, " must be (",
               rows, ") ", wide, ", got ", t.shape(), " ", t.dtype());
  };
  check_vector("short_bias", short_bias, projected);
  check_vector("input_bias", input_bias, projected);
  check_vector("skip", skip, channels);

  Tensor y = Tensor::empty({channels, z.size(1), z.size(2)}, z.dtype(), z.device());
  auto [k, stream] = kernels::on(z.device());
  k.hyena_conv_forward(stream, {.z = z.view(),
                                .short_weight = short_weight.view(),
                                .short_bias = short_bias.view(),
                                .input_bias = input_bias.view(),
                                .k = filter.view(),
                                .skip = skip.view(),
                                .y = y.view()});
  return record("hyena_conv", {z, short_weight, filter, short_bias, input_bias, skip}, y,
                [z, weights](const Tensor& dy, Grads& g) {
                  GradTarget dz(g, 0, z);
                  const Grads::Slot dweight = slot_if_wanted(g, 1, weights.short_weight);
                  const Grads::Slot dk = slot_if_wanted(g, 2, weights.filter);
                  const Grads::Slot dbias = slot_if_wanted(g, 3, weights.short_bias);
                  const Grads::Slot dinput_bias = slot_if_wanted(g, 4, weights.input_bias);
                  const Grads::Slot dskip = slot_if_wanted(g, 5, weights.skip);
                  auto [k, stream] = kernels::on(z.device());
                  k.hyena_conv_backward(stream, {.dy = dy.view(),
                                                 .z = z.view(),
                                                 .short_weight = weights.short_weight.view(),
                                                 .short_bias = weights.short_bias.view(),
                                                 .input_bias = weights.input_bias.view(),
                                                 .k = weights.filter.view(),
                                                 .skip = weights.skip.view(),
                                                 .dz = dz.view(),
                                                 .dshort_weight = dweight.dst,
                                                 .dshort_bias = dbias.dst,
                                                 .dinput_bias = dinput_bias.dst,
                                                 .dk = dk.dst,
                                                 .dskip = dskip.dst,
                                                 .accumulate_short_weight = dweight.accumulate,
                                                 .accumulate_short_bias = dbias.accumulate,
                                                 .accumulate_input_bias = dinput_bias.accumulate,
                                                 .accumulate_k = dk.accumulate,
                                                 .accumulate_skip = dskip.accumulate});
                  dz.commit();
                });
}

bool hyena_conv_pays(const Tensor& z, const HyenaConvWeights& weights) {
  return kernels::hyena_in_one_kernel(z.dtype(), z.size(2), weights.short_weight.size(1));
}

Tensor hyena_conv_composed(const Tensor& z, const HyenaConvWeights& weights) {
  const int64_t channels = z.size(0) / 3;
  const Tensor p = short_conv(z, weights.short_weight, weights.short_bias, weights.input_bias);
  return fft_conv(p.narrow(2 * channels, channels), weights.filter,
                  {.skip = weights.skip, .gate_in = p.narrow(channels, channels), .gate_out = p.narrow(0, channels)});
}

}  // namespace mara::ops
