#pragma once

#include "kernels/elementwise.h"

namespace mara::kernels {

/// What becomes of the sum s = a b (+ bias) before it is stored:
///   none                 c = s
///   activation           c = f(s), and pre = s unless that is empty
///   activation_gradient  c = s f'(pre): s is the gradient of f(pre), c that of pre
enum class Epilogue : uint8_t { none, activation, activation_gradient };

/// c[i] = a[i] b[i] (+ bias) (+ c[i] if accumulate), batched over i, through an epilogue. Transposition is a matter of
/// strides: of the last two axes of a and of b one has stride 1, c's last axis has stride 1.
/// Accumulated in f32 (f64 for f64). Same bits for any number of threads.
struct Matmul {
  View a;                   // (batch, m, k)  f32 | bf16 | f64; a batch stride of 0 repeats one matrix
  View b;                   // (batch, k, n)  dtype of a
  View c;                   // (batch, m, n)  dtype of a, or f32 where a is bf16
  View row_bias;            // (m) f32 | f64, one per row of c, or empty
  View col_bias;            // (n) f32 | f64, one per column of c, or empty
  bool accumulate = false;  // excludes a bias and an epilogue
  Epilogue epilogue = Epilogue::none;
  Unary function = Unary::gelu_tanh;  // f
  View pre;                           // dtype and shape of c, both then contiguous; or empty

  double flops() const {
    return 2.0 * static_cast<double>(c.size(0)) * static_cast<double>(c.size(1)) * static_cast<double>(c.size(2)) *
           static_cast<double>(a.size(2));
  }

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("a", a);
    v.in("b", b);
    v.out("c", c, accumulate);
    v.in("row_bias", row_bias);
    v.in("col_bias", col_bias);
    v.option("epilogue", epilogue);
    v.option("function", function);
    if (epilogue == Epilogue::activation) {
      v.out("pre", pre);
    } else {
      v.in("pre", pre);
    }
  }
};

}  // namespace mara::kernels
