#pragma once

#include "core/view.h"

namespace mara::kernels {

/// y[o, m, i] = x[o, index[m], i]. An embedding is the case outer = 1.
struct GatherForward {
  View x;      // (outer, n, inner) contiguous, f32 | bf16 | f64
  View index;  // (m) i32, each in [0, n)
  View y;      // (outer, m, inner) contiguous, any floating dtype

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.index("index", index, x.size(1));
    v.out("y", y);
  }
  double bytes() const {  // of x only the rows that are read
    const double rows = static_cast<double>(y.numel());
    return rows * static_cast<double>(size_of(x.dtype) + size_of(y.dtype)) + 4.0 * static_cast<double>(index.numel());
  }
};
/// dx[o, j, i] (+)= sum over m with index[m] = j of dy[o, m, i], in the order of m: deterministic.
struct GatherBackward {
  View index;  // (m) i32
  View dy;     // (outer, m, inner) contiguous
  View dx;     // (outer, n, inner) contiguous, any floating dtype; every element is written
  bool accumulate = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.index("index", index, dx.size(1));
    v.in("dy", dy);
    v.out("dx", dx, accumulate);
  }
};

}  // namespace mara::kernels
