#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// Causal depthwise convolution: y[d,b,l] = bias[d] + sum_{j <= l} weight[d, K-1-j] u[d,b,l-j]; the last tap
/// multiplies the current sample. u (D, B, L); weight (D, K) and bias (D) f32 | f64, bias may be absent. Saves u.
Tensor short_conv(const Tensor& u, const Tensor& weight, const Tensor& bias);

/// The same from elementary ops, for tests.
Tensor short_conv_composed(const Tensor& u, const Tensor& weight, const Tensor& bias);

}  // namespace mara::ops
