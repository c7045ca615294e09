#pragma once

#include "core/view.h"

namespace mara::kernels {

/// c[i] = a[i] b[i] (+ bias) (+ c[i] if accumulate), batched over i. Transposition is a matter of strides: of the
/// last two axes of a and of b one has stride 1, c's last axis has stride 1.
/// Accumulated in f32 (f64 for f64). Same bits for any number of threads.
struct Matmul {
  View a;                   // (batch, m, k)  f32 | bf16 | f64; a batch stride of 0 repeats one matrix
  View b;                   // (batch, k, n)  dtype of a
  View c;                   // (batch, m, n)  dtype of a, or f32 where a is bf16
  View row_bias;            // (m) f32 | f64, one per row of c, or empty
  View col_bias;            // (n) f32 | f64, one per column of c, or empty
  bool accumulate = false;  // excludes a bias

  double flops() const {
    return 2.0 * static_cast<double>(c.size(0)) * static_cast<double>(c.size(1)) * static_cast<double>(c.size(2)) *
           static_cast<double>(a.size(2));
  }
};

}  // namespace mara::kernels
