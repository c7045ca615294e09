#pragma once
// Normalisations over the last axis. Statistics are f32 (f64 for f64 inputs).

#include "core/tensor.h"

namespace mara::ops {

/// y = (x - mean) / sqrt(var + eps) * gain + bias (Ba et al., 1607.06450). x (..., D) f32, bf16 or f64; gain and
/// bias (D) f32 | f64; y has `out` as its dtype. Saves x and the statistics.
Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps, Dtype out);

/// y = x / sqrt(mean(x^2) + eps) * gain (Zhang and Sennrich, 1910.07467). gain (D) f32 | f64, or absent for 1. Saves
/// x and the statistics.
Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps, Dtype out);

struct SumAndNorm {
  Tensor sum, normed;
};

/// sum = x + branch and normed = layer_norm(sum), or rms_norm(sum), in one pass. branch has the shape of x and any
/// floating dtype; sum has the dtype of x.
SumAndNorm add_layer_norm(const Tensor& x, const Tensor& branch, const Tensor& gain, const Tensor& bias, double eps,
                          Dtype out);
SumAndNorm add_rms_norm(const Tensor& x, const Tensor& branch, const Tensor& gain, double eps, Dtype out);

/// y = exp(x) / sum exp(x). Saves y.
Tensor softmax(const Tensor& x);

}  // namespace mara::ops
