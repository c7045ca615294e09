#pragma once
// What tests of kernels have in common.

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/tensor.h"
#include "kernels/elementwise.h"

namespace mara {

inline std::vector<Dtype> floating_dtypes(Device device) {
  if (device.type == DeviceType::cuda) return {Dtype::f32, Dtype::bf16};
  return {Dtype::f32, Dtype::bf16, Dtype::f64};
}

inline constexpr kernels::Unary kFunctions[] = {
    kernels::Unary::gelu_tanh,    kernels::Unary::gelu,      kernels::Unary::silu, kernels::Unary::relu,
    kernels::Unary::relu_squared, kernels::Unary::sin,       kernels::Unary::exp,  kernels::Unary::sigmoid,
    kernels::Unary::abs,          kernels::Unary::reciprocal};

/// What a device computes in at best.
inline Dtype widest(Device device) { return device.type == DeviceType::cuda ? Dtype::f32 : Dtype::f64; }

/// Error of one operation on numbers near 1: a few roundings of f32 or f64, one of bf16.
inline double rounding(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64:
      return 1e-14;
    case Dtype::bf16:
      return 4e-3;
    default:
      return 5e-7;
  }
}

/// |actual - expected| <= error (1 + |expected|) for every element; NaN and inf must be in the same places.
inline void expect_close(const std::vector<double>& actual, const std::vector<double>& expected, double error) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const bool same = actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i]));
    const bool close = same || std::fabs(actual[i] - expected[i]) <= error * (1 + std::fabs(expected[i]));
    ASSERT_TRUE(close) << "element " << i << " of " << actual.size() << ": " << actual[i] << ", expected "
                       << expected[i];
  }
}

}  // namespace mara
