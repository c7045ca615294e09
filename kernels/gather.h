#pragma once

#include "core/view.h"

namespace mara::kernels {

/// y[o, m, i] = x[o, index[m], i]. An embedding is the case outer = 1.
struct GatherForward {
  View x;      // (outer, n, inner) contiguous, f32 | bf16 | f64
  View index;  // (m) i32, each in [0, n)
  View y;      // (outer, m, inner) contiguous, any floating dtype
};
/// dx[o, j, i] (+)= sum over m with index[m] = j of dy[o, m, i], in the order of m: deterministic.
struct GatherBackward {
  View index;  // (m) i32
  View dy;     // (outer, m, inner) contiguous
  View dx;     // (outer, n, inner) contiguous, any floating dtype; every element is written
  bool accumulate = false;
};

}  // namespace mara::kernels
