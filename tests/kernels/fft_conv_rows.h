#pragma once
// Data of long convolutions in bf16, and how far results may be from exact ones: what tests of the ways to go share.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/tensor.h"

namespace mara {

using Values = std::vector<double>;

/// Rows channel-major, filters by channel; rounded to what they are stored in. Empty where there is none.
struct ConvData {
  Values u, gate_in, gate_out, dy, k, k_reverse, skip;
};
struct ConvResults {
  Values y, du, dgate_in, dgate_out, dk, dk_reverse, dskip;
};

/// offset +- size, as `dtype` rounds it.
inline Values noise(int64_t count, uint32_t seed, double size, double offset, Dtype dtype) {
  Values out(static_cast<size_t>(count));
  for (double& value : out) {
    seed = seed * 1664525u + 1013904223u;
    value = offset + size * (static_cast<double>(seed >> 8) * 0x1p-23 - 1.0);
  }
  return count == 0 ? out : Tensor::from(out, {count}, dtype, kCpu).to_host();
}
/// Taps (channels, taps) that fall to a fiftieth, as f32 rounds them.
inline Values decaying(int64_t channels, int64_t taps, uint32_t seed) {
  Values out = noise(channels * taps, seed, 1, 0, Dtype::f64);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] *= std::exp(-4.0 * static_cast<double>(i % static_cast<size_t>(taps)) / static_cast<double>(taps));
  }
  return out.empty() ? out : Tensor::from(out, {channels * taps}, Dtype::f32, kCpu).to_host();
}

/// The largest error of a row, relative to its norm, without what rounding exact values to the dtype would leave.
inline double worst_row(const Values& got, const Values& want, int64_t length, Dtype dtype) {
  EXPECT_EQ(got.size(), want.size());
  if (want.empty()) return 0;
  const Values rounded = Tensor::from(want, {static_cast<int64_t>(want.size())}, dtype, kCpu).to_host();
  double worst = 0;
  for (size_t row = 0; row < want.size(); row += static_cast<size_t>(length)) {
    double error = 0, rounding = 0, norm = 0;
    for (size_t i = row; i < row + static_cast<size_t>(length); ++i) {
      if (!std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
      error += (got[i] - want[i]) * (got[i] - want[i]);
      rounding += (rounded[i] - want[i]) * (rounded[i] - want[i]);
      norm += want[i] * want[i];
    }
    worst = std::max(worst, std::sqrt(std::max(0.0, error - rounding) / norm));
  }
  return worst;
}

}  // namespace mara
