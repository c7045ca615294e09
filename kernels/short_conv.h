#pragma once

#include "core/view.h"

namespace mara::kernels {

/// Causal depthwise convolution with a few taps; the last tap multiplies the current sample:
///   y[d, b, l] = bias[d] + sum_{j < K, j <= l} weight[d, K-1-j] u[d, b, l-j]
struct ShortConvForward {
  View u;       // (D, B, L) f32 | bf16 | f64, last axis stride 1
  View weight;  // (D, K) f32 | f64, K <= 64
  View bias;    // (D) f32 | f64, or empty
  View y;       // (D, B, L) dtype of u, last axis stride 1
};
/// du[l] = sum_j weight[K-1-j] dy[l+j];  dweight[i] = sum_{b,l} dy[l] u[l-(K-1-i)];  dbias = sum_{b,l} dy.
struct ShortConvBackward {
  View dy, u;           // (D, B, L)
  View weight;          // (D, K)
  View du;              // (D, B, L) dtype of u, or empty
  View dweight, dbias;  // f32 | f64, or empty
  bool accumulate_weight = false, accumulate_bias = false;
};

}  // namespace mara::kernels
