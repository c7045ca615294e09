#pragma once

#include "core/tensor.h"
#include "kernels/fft_conv.h"

namespace mara::ops {

using kernels::ConvForm;

/// What a long convolution may have besides input and filter; all may be absent.
struct FftConvOptions {
  Tensor reverse;   // (D, K') f32 | f64: anti-causal taps, lag 0 included
  Tensor skip;      // (D) f32 | f64: adds skip * x
  Tensor gate_in;   // (D, B, L): x = gate_in * u
  Tensor gate_out;  // (D, B, L): y = gate_out * c
  ConvForm form = ConvForm::causal;
};

/// y = gate_out * (conv(gate_in * u, filter) + skip * gate_in * u), see kernels/fft_conv.h for the exact sums.
/// u (D, B, L) f32, bf16 or f64; filter (D, K) f32 (f64 with f64), any L and K. Saves its inputs only: spectra and
/// the convolution are recomputed in backward. Causal to rounding, not bit for bit.
Tensor fft_conv(const Tensor& u, const Tensor& filter, const FftConvOptions& options = {});

/// Taps (D, K) for lags -1, -2, ... as `reverse` wants them, which starts at lag 0: [0, t[0], ..., t[K-2]]. The
/// convention of bidirectional layers (S4, LongConv, Monarch): the two filters do not both weigh the same position.
Tensor shifted_by_one(const Tensor& taps);

/// fft_conv from elementary ops, a product with the (L, L) Toeplitz matrix of each channel: for tests, small L.
Tensor fft_conv_composed(const Tensor& u, const Tensor& filter, const FftConvOptions& options = {});

}  // namespace mara::ops
