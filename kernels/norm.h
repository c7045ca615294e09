#pragma once
// Normalisations over the last axis. Statistics and gains are f32 (f64 for f64 data).

#include "core/view.h"

namespace mara::kernels {

/// y[n, d] = (x[n, d] - mean[n]) rstd[n] gain[d] + bias[d], rstd = 1 / sqrt(var + eps), var with divisor D.
struct LayerNormForward {
  View x;           // (N, D) contiguous, f32 | bf16 | f64
  View gain, bias;  // (D) f32 | f64
  View y;           // (N, D) contiguous, any floating dtype
  View mean, rstd;  // (N) f32 | f64, outputs
  double eps = 1e-5;
};
struct LayerNormBackward {
  View dy;            // (N, D) contiguous, dtype of y
  View x;             // (N, D)
  View gain;          // (D)
  View mean, rstd;    // (N)
  View dx;            // (N, D) dtype of x, or empty
  View dgain, dbias;  // (D) f32 | f64, or empty
  bool accumulate_gain = false, accumulate_bias = false;
};

/// y[n, d] = x[n, d] rstd[n] gain[d], rstd = 1 / sqrt(mean(x^2) + eps).
struct RmsNormForward {
  View x;     // (N, D) contiguous, f32 | bf16 | f64
  View gain;  // (D) f32 | f64, or empty (gain 1)
  View y;     // (N, D) contiguous, any floating dtype
  View rstd;  // (N) f32 | f64, output
  double eps = 1e-5;
};
struct RmsNormBackward {
  View dy, x, gain, rstd;  // as in the forward
  View dx;                 // (N, D) dtype of x, or empty
  View dgain;              // (D) f32 | f64, or empty
  bool accumulate_gain = false;
};

/// y[n, :] = exp(x[n, :] - max) / sum
struct SoftmaxForward {
  View x, y;  // (N, D) contiguous, same dtype
};
/// dx = y (dy - sum(dy y))
struct SoftmaxBackward {
  View y, dy, dx;  // (N, D) contiguous, same dtype
};

}  // namespace mara::kernels
