#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// What the Hyena operator has besides its input; the last three may be absent. All f32 (f64 with f64).
struct HyenaConvWeights {
  Tensor short_weight;            // (3 D, T), up to 64 taps, the last for the current sample
  Tensor filter;                  // (D, K)
  Tensor short_bias, input_bias;  // (3 D); the latter belongs to the projection that made z, which then needs no pass
  Tensor skip;                    // (D)
};

/// The Hyena operator of order 2 on projections z (3 D, B, L), channels x_0, x_1 and v: with p their short
/// convolutions, y = p_0 (conv(p_1 p_v, filter) + skip p_1 p_v), (D, B, L); kernels/hyena_conv.h has the sums. The same
/// as short_conv and fft_conv, but it saves z alone and makes the p again in backward.
Tensor hyena_conv(const Tensor& z, const HyenaConvWeights& weights);

/// Whether that is worth more than the two ops: where a GPU does it in one kernel, which takes less time, or with rows
/// above 4096 as much, and rounds less. Elsewhere the p are better kept. By the dtype, the length and the taps, so
/// alike on all devices: one that has no such kernel saves the p, too, for one more short convolution in backward.
bool hyena_conv_pays(const Tensor& z, const HyenaConvWeights& weights);

/// The same of the two ops, for tests.
Tensor hyena_conv_composed(const Tensor& z, const HyenaConvWeights& weights);

}  // namespace mara::ops
