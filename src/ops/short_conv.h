#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// Causal depthwise convolution: y[d,b,l] = bias[d] + sum_{j <= l} weight[d, K-1-j] (u[d,b,l-j] + input_bias[d]); the
/// last tap multiplies the current sample. u (D, B, L); weight (D, K), bias and input_bias (D) f32 | f64; either bias
/// may be absent. input_bias is for the bias of a projection that made u, which then needs no pass. Saves u.
Tensor short_conv(const Tensor& u, const Tensor& weight, const Tensor& bias, const Tensor& input_bias = {});

/// The same from elementary ops, for tests.
Tensor short_conv_composed(const Tensor& u, const Tensor& weight, const Tensor& bias, const Tensor& input_bias = {});

}  // namespace mara::ops
