#pragma once
// Impulse responses of state-space systems: the filters of S4, S4D and H3.

#include <cmath>
#include <cstdint>

#include "core/view.h"

namespace mara::kernels {

/// What extreme parameters are bounded by: the exponentials below are of an argument clamped to +-kSsmExponent, and
/// frequencies are clamped to +-kSsmFrequency. Beyond, gradients are 0.
inline constexpr double kSsmExponent = 20, kSsmFrequency = 1e8;

/// zoh:      lambda = exp(z), phi = (exp(z) - 1) / a;   bilinear: lambda = (1 + z/2) / (1 - z/2), phi = dt / (1 - z/2);
/// with z = dt a.
enum class Discretization : uint8_t { zoh, bilinear };

/// Diagonal systems (S4D, Gu et al., 2206.11893). Of N = 2M states, which come in conjugate pairs, M are kept. Row r
/// belongs to channel h = r mod H, and channel h to system s = h mod S:
///   a[n] = -exp(log_decay[s,n]) + i frequency[s,n],  dt = rate exp(log_dt[h])
///   k[r,l] = 2 Re sum_n c[r,n] b[s,n] phi[n] lambda[n]^l
/// O(R M L) work, nothing of size R M L is stored. Complex numbers have a last axis of 2, all views are contiguous.
/// Computed in f32 (f64 for f64), with phases reduced so that the error does not grow with l beyond rounding of
/// lambda's logarithm.
struct DiagonalSsmForward {
  View log_dt;                // (H) f32 | f64
  View log_decay, frequency;  // (S, M), S divides H
  View b;                     // (S, M, 2)
  View c;                     // (R, M, 2), H divides R
  View k;                     // (R, L)
  Discretization discretization = Discretization::zoh;
  double rate = 1;

  /// A complex product and sum for each tap of each mode.
  double flops() const { return 8.0 * static_cast<double>(k.numel() * c.size(1)); }

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("log_dt", log_dt);
    v.in("log_decay", log_decay);
    v.in("frequency", frequency);
    v.in("b", b);
    v.in("c", c);
    v.out("k", k);
    v.option("discretization", discretization);
    v.option("rate", rate);
  }
};

/// With v = c b phi, x = log lambda and the gradient of a complex w as d/dRe w + i d/dIm w:
///   dv = 2 sum_l dk[l] conj(exp(x l)),  dx = 2 conj(v) sum_l dk[l] l conj(exp(x l)),
/// and from there to the parameters by the chain rule; systems shared by channels and rows sum over them, in order.
/// Each gradient may be absent.
struct DiagonalSsmBackward {
  View dk;                                       // (R, L)
  View log_dt, log_decay, frequency, b, c;       // as in the forward
  View dlog_dt, dlog_decay, dfrequency, db, dc;  // shapes of the parameters, or empty
  bool accumulate_log_dt = false, accumulate_log_decay = false, accumulate_frequency = false, accumulate_b = false,
       accumulate_c = false;
  Discretization discretization = Discretization::zoh;
  double rate = 1;

  /// The same for each of both sums.
  double flops() const { return 16.0 * static_cast<double>(dk.numel() * c.size(1)); }

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("dk", dk);
    v.in("log_dt", log_dt);
    v.in("log_decay", log_decay);
    v.in("frequency", frequency);
    v.in("b", b);
    v.in("c", c);
    v.out("dlog_dt", dlog_dt, accumulate_log_dt);
    v.out("dlog_decay", dlog_decay, accumulate_log_decay);
    v.out("dfrequency", dfrequency, accumulate_frequency);
    v.out("db", db, accumulate_b);
    v.out("dc", dc, accumulate_c);
    v.option("discretization", discretization);
    v.option("rate", rate);
  }
};

/// Operations of R rows of DPLR systems: at T / 2 frequencies a complex product and sum for each of four Cauchy sums
/// over the modes and their conjugates, and a real transform.
inline double dplr_flops(int64_t rows, int64_t modes, int64_t period) {
  const double t = static_cast<double>(period);
  return static_cast<double>(rows) * t * (32.0 * static_cast<double>(modes) + 2.5 * std::log2(t));
}

/// Diagonal plus low rank systems (S4, Gu et al., 2111.00396), A = diag(a) - p p*, bilinear. c is the truncated
/// C (I - Abar^T) of the period T, a power of two, and k the first L <= T samples of the inverse real transform of
///   khat[j] = 2 / (1 + w_j) (k00 - k01 k10 / (1 + k11)),  w_j = exp(-2 pi i j / T),  z_j = 2 (1 - w_j) / (1 + w_j)
///   k00, k01, k10, k11 = sum over modes and their conjugates of dt u v / (z_j - dt a)
///   with (u, v) = (c, b), (c, p), (conj p, b), (conj p, p);  khat[T/2] = dt Re sum_n c[n] b[n].
/// O(R M T + R T log T) work. Rows, channels, systems and dtypes as in DiagonalSsmForward; T is at least 2. In f32 on
/// the CPU relative errors stay below 1e-4 for dt from 1e-5 on and grow to 7e-3 at 1e-8.
struct DplrSsmForward {
  View log_dt;                // (H)
  View log_decay, frequency;  // (S, M)
  View b, p;                  // (S, M, 2)
  View c;                     // (R, M, 2)
  View k;                     // (R, L)
  int64_t period = 0;         // T
  double rate = 1;

  double flops() const { return dplr_flops(c.size(0), c.size(1), period); }

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("log_dt", log_dt);
    v.in("log_decay", log_decay);
    v.in("frequency", frequency);
    v.in("b", b);
    v.in("p", p);
    v.in("c", c);
    v.out("k", k);
    v.option("period", period);
    v.option("rate", rate);
  }
};

/// Gradients of the same, through the transform of dk and the Cauchy sums; each may be absent.
struct DplrSsmBackward {
  View dk;                                     // (R, L)
  View log_dt, log_decay, frequency, b, p, c;  // as in the forward
  View dlog_dt, dlog_decay, dfrequency, db, dp, dc;
  bool accumulate_log_dt = false, accumulate_log_decay = false, accumulate_frequency = false, accumulate_b = false,
       accumulate_p = false, accumulate_c = false;
  int64_t period = 0;
  double rate = 1;

  double flops() const { return 2 * dplr_flops(c.size(0), c.size(1), period); }

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("dk", dk);
    v.in("log_dt", log_dt);
    v.in("log_decay", log_decay);
    v.in("frequency", frequency);
    v.in("b", b);
    v.in("p", p);
    v.in("c", c);
    v.out("dlog_dt", dlog_dt, accumulate_log_dt);
    v.out("dlog_decay", dlog_decay, accumulate_log_decay);
    v.out("dfrequency", dfrequency, accumulate_frequency);
    v.out("db", db, accumulate_b);
    v.out("dp", dp, accumulate_p);
    v.out("dc", dc, accumulate_c);
    v.option("period", period);
    v.option("rate", rate);
  }
};

}  // namespace mara::kernels
