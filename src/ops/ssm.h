#pragma once
// Filters of state-space systems; see kernels/ssm_kernel.h for the formulas.

#include "core/tensor.h"
#include "kernels/ssm_kernel.h"

namespace mara::ops {

using kernels::Discretization;

/// Parameters of H continuous systems with N = 2M states, all f32 (f64 for f64 models); complex ones have a last axis
/// of 2 (re, im).
struct SsmParameters {
  Tensor log_dt;                // (H): step sizes
  Tensor log_decay, frequency;  // (S, M): a = -exp(log_decay) + i frequency; S divides H, channel h uses h mod S
  Tensor b;                     // (S, M, 2)
  Tensor c;                     // (R, M, 2): R = H times the filters per channel
  double rate = 1;              // times the step size: 2 for a signal that was sampled half as often
};

/// (R, L): impulse responses of diagonal systems. Saves the parameters.
Tensor diagonal_ssm_filter(const SsmParameters& system, Discretization discretization, int64_t length);

/// (R, L): impulse responses of diagonal plus low rank systems, A = diag(a) - p p*, p (S, M, 2), discretised by the
/// bilinear rule; c is C (I - Abar^period). L <= period, a power of two. Saves the parameters.
Tensor dplr_ssm_filter(const SsmParameters& system, const Tensor& p, int64_t period, int64_t length);

/// (H, L): impulse response of the shift system x <- shift(x) + b u, y = c x, both (H, N): the correlation
/// k[l] = sum_n b[n] c[n+l] (H3, Fu et al., 2212.14052); zero from l = N on. Saves b and c.
Tensor shift_ssm_filter(const Tensor& b, const Tensor& c, int64_t length);

}  // namespace mara::ops
