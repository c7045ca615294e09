#pragma once
// A mode of a state-space system in discrete time, in f64 on the host.

#include <cmath>
#include <complex>

#include "kernels/ssm_kernel.h"

namespace mara::kernels {

/// exp of an argument clamped as kernels/ssm_kernel.h says, and its derivative.
struct BoundedExp {
  double value, derivative;
};
inline BoundedExp bounded_exp(double x) {
  if (x > kSsmExponent) return {std::exp(kSsmExponent), 0};
  if (x < -kSsmExponent) return {std::exp(-kSsmExponent), 0};
  return {std::exp(x), std::exp(x)};
}
inline BoundedExp bounded_frequency(double x) {
  if (std::fabs(x) > kSsmFrequency) return {std::copysign(kSsmFrequency, x), 0};
  return {x, 1};
}

/// lambda and phi = dt phi_z(z) of z = dt a, with the derivatives of log lambda and phi_z by z.
struct DiscreteMode {
  using Z = std::complex<double>;
  Z lambda, phi, dlog_lambda, phi_z, dphi_z;
};

inline DiscreteMode discretize(std::complex<double> a, double dt, Discretization rule) {
  using Z = DiscreteMode::Z;
  const Z z = dt * a;
  if (rule == Discretization::bilinear) {
    // lambda = 0 at z = -2, where its logarithm is none; so near it nothing is lost.
    const Z up = std::abs(1.0 + 0.5 * z) < 1e-12 ? Z(1e-12) : 1.0 + 0.5 * z, down = 1.0 / (1.0 - 0.5 * z);
    return {up * down, dt * down, down / up, down, 0.5 * down * down};
  }
  const double decay = std::exp(z.real()), sine = std::sin(0.5 * z.imag());
  const Z lambda = std::polar(decay, z.imag());
  const Z minus_one(std::expm1(z.real()) * std::cos(z.imag()) - 2 * sine * sine, lambda.imag());  // lambda - 1
  const Z phi = minus_one / z;
  Z dphi = (lambda - phi) / z;
  if (std::abs(z) < 0.5) {  // the difference cancels: its series, sum_k z^k (k + 1) / (k + 2)!
    Z power = 1;
    dphi = 0;
    double factorial = 2;
    for (int k = 0; k < 16; ++k, power *= z, factorial *= k + 2) dphi += power * ((k + 1) / factorial);
  }
  return {lambda, dt * phi, 1, phi, dphi};
}

}  // namespace mara::kernels
