#pragma once
// Normalisations over the last axis. Statistics and gains are f32 (f64 for f64 data).

#include "core/view.h"

namespace mara::kernels {

/// y[n, d] = (x[n, d] - mean[n]) rstd[n] gain[d] + bias[d], rstd = 1 / sqrt(var + eps), var with divisor D. With a
/// branch, sum = x + branch stands for x: the residual addition before a norm, without a pass of its own.
struct LayerNormForward {
  View x;           // (N, D) contiguous, f32 | bf16 | f64
  View gain, bias;  // (D) f32 | f64
  View y;           // (N, D) contiguous, any floating dtype
  View mean, rstd;  // (N) f32 | f64, outputs
  double eps = 1e-5;
  View branch;  // (N, D) contiguous, any floating dtype, or empty
  View sum;     // (N, D) contiguous, dtype of x, output; empty without a branch

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.in("gain", gain);
    v.in("bias", bias);
    v.in("branch", branch);
    v.out("y", y);
    v.out("mean", mean);
    v.out("rstd", rstd);
    v.out("sum", sum);
    v.option("eps", eps);
  }
};
struct LayerNormBackward {
  View dy;            // (N, D) contiguous, dtype of y
  View x;             // (N, D)
  View gain;          // (D)
  View mean, rstd;    // (N)
  View dx;            // (N, D) dtype of x, or empty
  View dgain, dbias;  // (D) f32 | f64, or empty
  bool accumulate_gain = false, accumulate_bias = false, accumulate_x = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("dy", dy);
    v.in("x", x);
    v.in("gain", gain);
    v.in("mean", mean);
    v.in("rstd", rstd);
    v.out("dx", dx, accumulate_x);
    v.out("dgain", dgain, accumulate_gain);
    v.out("dbias", dbias, accumulate_bias);
  }
};

/// y[n, d] = x[n, d] rstd[n] gain[d], rstd = 1 / sqrt(mean(x^2) + eps). A branch as in LayerNormForward.
struct RmsNormForward {
  View x;     // (N, D) contiguous, f32 | bf16 | f64
  View gain;  // (D) f32 | f64, or empty (gain 1)
  View y;     // (N, D) contiguous, any floating dtype
  View rstd;  // (N) f32 | f64, output
  double eps = 1e-5;
  View branch, sum;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.in("gain", gain);
    v.in("branch", branch);
    v.out("y", y);
    v.out("rstd", rstd);
    v.out("sum", sum);
    v.option("eps", eps);
  }
};
struct RmsNormBackward {
  View dy, x, gain, rstd;  // as in the forward
  View dx;                 // (N, D) dtype of x, or empty
  View dgain;              // (D) f32 | f64, or empty
  bool accumulate_gain = false, accumulate_x = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("dy", dy);
    v.in("x", x);
    v.in("gain", gain);
    v.in("rstd", rstd);
    v.out("dx", dx, accumulate_x);
    v.out("dgain", dgain, accumulate_gain);
  }
};

/// y[n, :] = exp(x[n, :] - max) / sum
struct SoftmaxForward {
  View x, y;  // (N, D) contiguous, same dtype

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.out("y", y);
  }
};
/// dx = y (dy - sum(dy y))
struct SoftmaxBackward {
  View y, dy, dx;  // (N, D) contiguous, same dtype

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("y", y);
    v.in("dy", dy);
    v.out("dx", dx);
  }
};

}  // namespace mara::kernels
