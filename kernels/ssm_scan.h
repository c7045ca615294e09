#pragma once
// State-space systems position by position, for generating.

#include "core/view.h"

namespace mara::kernels {

/// Channel h of batch row b, for t = 0 .. T-1, of N = 2M states in conjugate pairs of which M are kept:
///   x <- lambda x - q (2 Re sum_n r[n] x[n]) + b u[t],   y[t] = 2 Re sum_n c[n] x[n]
/// A diagonal system has no q and r; with them it is diagonal plus rank one, which every bilinear discretisation of
/// a DPLR system is (S4, 2111.00396). The state is f32 (f64 with f64 data) whatever the data: with |lambda| near 1 its
/// increments are below the resolution of bf16. O(H B M T) work in one pass; T = 1 is a step.
struct SsmScan {
  View lambda, b, c;  // (H, M, 2) f32 | f64
  View q, r;          // (H, M, 2), or empty
  View u;             // (H, B, T) f32 | bf16 | f64, last axis stride 1
  View state;         // (H, B, M, 2) f32 | f64, read and written
  View y;             // (H, B, T) dtype of u

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("lambda", lambda);
    v.in("b", b);
    v.in("c", c);
    v.in("q", q);
    v.in("r", r);
    v.in("u", u);
    v.in_out("state", state);
    v.out("y", y);
  }
};

}  // namespace mara::kernels
