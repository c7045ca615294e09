#pragma once
// Initial values of parameters. Each is a pure function of (seed, full name, element), so values depend on neither
// construction order nor device nor rank.

#include <cstdint>
#include <functional>
#include <string_view>

#include "core/tensor.h"

namespace mara::nn {

class Init {
 public:
  static Init zeros() { return constant(0); }
  static Init ones() { return constant(1); }
  static Init constant(double value);
  static Init normal(double standard_deviation);
  /// Uniform in [-bound, bound).
  static Init uniform(double bound);
  /// What a framework's linear or convolution layer starts from: uniform with bound 1 / sqrt(fan_in).
  static Init fan_in(int64_t fan_in);
  /// value(i) for the flat row-major element i: tables that are computed, not drawn.
  static Init values(std::function<double(int64_t)> value);

  /// Fills a contiguous f32 or f64 tensor. `name` is the parameter's full name.
  void fill(const Tensor& target, uint64_t seed, std::string_view name) const;

 private:
  enum class Kind : uint8_t { values, normal, uniform };
  Kind kind_ = Kind::values;
  double amount_ = 0;
  std::function<double(int64_t)> value_;
};

}  // namespace mara::nn
