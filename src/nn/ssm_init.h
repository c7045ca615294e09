#pragma once
// Where state-space systems start, computed in f64.

#include <complex>
#include <string>
#include <vector>

#include "nn/init.h"

namespace mara::nn {

/// The HiPPO-LegS system (Gu et al., 2008.07669; as in 2111.00396, appendix C), which remembers its input as Legendre
/// coefficients: a (N, N) row-major, b (N), and p (N), with which a + p p^T is normal.
struct LegS {
  std::vector<double> a, b, p;
};
LegS legs(int64_t state);

/// Modes of a system of N = 2M states: the M of negative frequency, most negative first; the others are conjugates.
struct SsmModes {
  std::vector<double> log_decay, frequency;  // a = -exp(log_decay) + i frequency
  std::vector<double> b, p;                  // real: the phase of a mode's state is free
};

/// The eigenvalues of a + p p^T, all -1/2 + i frequency, and b and p in the basis of the eigenvectors whose phases make
/// them positive: b = sqrt(2) p. LAPACK's zheev.
SsmModes legs_modes(int64_t state);

/// By name, n < M, b = 1 and no p where not said otherwise (S4D, 2206.11893; positive frequencies as published there):
///   lin   -1/2 + i pi n                        inv2  -1/2 + i N / pi (N / (n + 1) - 1)
///   inv   -1/2 + i N / pi (N / (2n + 1) - 1)   quad  -1/2 + i (2n + 1)^2 / pi
///   legs  legs_modes without p                 real  -(n + 1)
///   random: -1/2 + i exp(normal), from drawn_frequency; the frequency here is 0.
SsmModes diagonal_modes(const std::string& name, int64_t state);
const std::vector<std::string>& diagonal_mode_names();

/// (S, M): each system the same `modes`.
Init repeated(std::vector<double> modes);
/// (S, M, 2): the same of real values.
Init repeated_real(std::vector<double> modes);
/// (S, M): the exponential of normal numbers.
Init drawn_frequency();
/// (H): log dt uniform between the logarithms of the bounds.
Init drawn_log_dt(double dt_min, double dt_max);
/// (R, M, 2): complex normal numbers of variance 1.
Init drawn_c();

}  // namespace mara::nn
