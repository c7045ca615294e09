#pragma once
// The Hyena operator made of the kernels for its parts, through scratch: every dtype and shape, on any backend.

#include "core/stream.h"
#include "kernels/hyena_conv.h"
#include "kernels/short_conv.h"

namespace mara::kernels {

/// Channels of x_0, x_1 or v, where there are rows.
inline View hyena_part(View rows, int part) {
  if (!rows) return rows;
  const int64_t channels = rows.size(0) / 3;
  rows.data = rows.ptr<char>() + part * channels * rows.stride[0] * size_of(rows.dtype);
  rows.shape[0] = channels;
  return rows;
}

/// What a backend has for the parts.
struct HyenaParts {
  void (*short_forward)(Stream&, const ShortConvForward&);
  void (*short_backward)(Stream&, const ShortConvBackward&);
  void (*long_forward)(Stream&, const FftConvForward&);
  void (*long_backward)(Stream&, const FftConvBackward&);
};

/// Rows like those of z, of their own.
class ScratchRows {
 public:
  ScratchRows(Stream& stream, const View& z)
      : memory_(stream.scratch<char>(z.numel() * size_of(z.dtype))),
        view_{memory_.get(), z.dtype, z.shape, contiguous_strides(z.shape), true} {}
  const View& view() const { return view_; }

 private:
  Stream::Scratch<char> memory_;
  View view_;
};

inline void compose_hyena(Stream& stream, const HyenaConvForward& a, const HyenaParts& kernels) {
  const ScratchRows p(stream, a.z);
  kernels.short_forward(
      stream, {.u = a.z, .weight = a.short_weight, .bias = a.short_bias, .y = p.view(), .input_bias = a.input_bias});
  kernels.long_forward(stream, {.u = hyena_part(p.view(), 2),
                                .k = a.k,
                                .skip = a.skip,
                                .gate_in = hyena_part(p.view(), 1),
                                .gate_out = hyena_part(p.view(), 0),
                                .y = a.y});
}

inline void compose_hyena(Stream& stream, const HyenaConvBackward& a, const HyenaParts& kernels) {
  const ScratchRows p(stream, a.z), dp(stream, a.z);
  kernels.short_forward(
      stream, {.u = a.z, .weight = a.short_weight, .bias = a.short_bias, .y = p.view(), .input_bias = a.input_bias});
  kernels.long_backward(stream, {.dy = a.dy,
                                 .u = hyena_part(p.view(), 2),
                                 .k = a.k,
                                 .skip = a.skip,
                                 .gate_in = hyena_part(p.view(), 1),
                                 .gate_out = hyena_part(p.view(), 0),
                                 .du = hyena_part(dp.view(), 2),
                                 .dgate_in = hyena_part(dp.view(), 1),
                                 .dgate_out = hyena_part(dp.view(), 0),
                                 .dk = a.dk,
                                 .dskip = a.dskip,
                                 .accumulate_k = a.accumulate_k,
                                 .accumulate_skip = a.accumulate_skip});
  kernels.short_backward(stream, {.dy = dp.view(),
                                  .u = a.z,
                                  .weight = a.short_weight,
                                  .du = a.dz,
                                  .dweight = a.dshort_weight,
                                  .dbias = a.dshort_bias,
                                  .accumulate_weight = a.accumulate_short_weight,
                                  .accumulate_bias = a.accumulate_short_bias,
                                  .input_bias = a.input_bias,
                                  .dinput_bias = a.dinput_bias,
                                  .accumulate_input_bias = a.accumulate_input_bias});
}

}  // namespace mara::kernels
