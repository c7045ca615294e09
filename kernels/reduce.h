#pragma once
// Reductions in a fixed order that depends on the shape alone.

#include "core/view.h"

namespace mara::kernels {

/// y[o, i] = sum over n of x[o, n, i]  (+ y[o, i] if accumulate)
struct ReduceSum {
  View x;  // (outer, n, inner) contiguous, f32 | bf16 | f64
  View y;  // (outer, inner)    contiguous, any floating dtype
  bool accumulate = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.out("y", y, accumulate);
  }
};

/// y[0] = sum of x^2, accumulated in f64.
struct SumOfSquares {
  View x;  // (n) contiguous, f32 | f64
  View y;  // (1) f64

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.out("y", y);
  }
};

}  // namespace mara::kernels
