#pragma once
// Windows that decay at a rate per channel: what Hyena multiplies its filters by (Poli et al., 2302.10866).

#include "core/view.h"

namespace mara::kernels {

/// y[d, l] = x[d, l] (exp(-|rate[d]| time[l]) + shift). Linear in x: dx is the same of dy.
struct DecayWindow {
  View x;     // (D, L) contiguous f32 | f64
  View rate;  // (D)
  View time;  // (L)
  View y;     // (D, L), may be x
  double shift = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.in("rate", rate);
    v.in("time", time);
    v.out("y", y);
  }
};

/// drate[d] = -sign(rate[d]) sum_l dy[d, l] x[d, l] time[l] exp(-|rate[d]| time[l]), in an order that L alone decides;
/// 0 where the rate is 0.
struct DecayWindowRate {
  View dy, x;  // (D, L) contiguous f32 | f64
  View rate;   // (D)
  View time;   // (L)
  View drate;  // (D)
  bool accumulate = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("dy", dy);
    v.in("x", x);
    v.in("rate", rate);
    v.in("time", time);
    v.out("drate", drate, accumulate);
  }
};

}  // namespace mara::kernels
