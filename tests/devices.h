#pragma once
// Value-parameterised fixture: one instance of each test per device present, and the tolerances used everywhere.

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/runtime.h"
#include "core/tensor.h"

namespace mara {

class OnDevice : public testing::TestWithParam<Device> {
 protected:
  Device device() const { return GetParam(); }
};

inline std::string device_name(const testing::TestParamInfo<Device>& info) {
  std::string name = to_string(info.param);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

/// Makes the instances of a fixture derived from OnDevice: "OnEveryDevice/Fixture.Test/cpu", ".../cuda_0".
#define MARA_ON_EVERY_DEVICE(Fixture) \
  INSTANTIATE_TEST_SUITE_P(OnEveryDevice, Fixture, testing::ValuesIn(::mara::devices_present()), ::mara::device_name)

/// Relative tolerance of a result against f64, by the dtype it was computed in.
inline double tolerance(Dtype dtype) {
  switch (dtype) {
    case Dtype::f64:
      return 1e-12;
    case Dtype::bf16:
      return 1e-2;
    default:
      return 2e-5;
  }
}

/// |a - b| relative to the rms of b: ||a - b|| / ||b|| (absolute where b is zero).
inline double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference) / (norm > 0 ? std::sqrt(norm) : 1.0);
}

/// Reproducible test data: sin(0.7 (i + 1) + phase), scaled.
inline std::vector<double> wave(int64_t count, double phase, double scale = 1) {
  std::vector<double> out(static_cast<size_t>(count));
  for (size_t i = 0; i < out.size(); ++i) out[i] = scale * std::sin(0.7 * static_cast<double>(i + 1) + phase);
  return out;
}

}  // namespace mara
