#pragma once
// Initial values of parameters. Each is a pure function of (seed, full name, element), so values depend on neither
// construction order nor device nor rank.

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace mara::nn {

class Init {
 public:
  static Init zeros() { return constant(0); }
  static Init ones() { return constant(1); }
  static Init constant(double value);
  static Init normal(double standard_deviation);
  /// Uniform in [-bound, bound).
  static Init uniform(double bound) { return uniform(-bound, bound); }
  /// Uniform in [low, high).
  static Init uniform(double low, double high);
  /// What a framework's linear or convolution layer starts from: uniform with bound 1 / sqrt(fan_in).
  static Init fan_in(int64_t fan_in);
  /// value(i) for the flat row-major element i: tables that are computed, not drawn.
  static Init values(std::function<double(int64_t)> value);
  /// All at once from the seed and the parameter's full name: values that follow from draws, those of parameters beside
  /// it included, which another Init's draw() gives again under their names.
  using Draw = std::function<std::vector<double>(int64_t count, uint64_t seed, std::string_view name)>;
  static Init drawn(Draw draw);

  /// What this draws, times factor(i) for the flat row-major element i.
  Init times(std::function<double(int64_t)> factor) const;

  /// Fills a contiguous f32 or f64 tensor. `name` is the parameter's full name.
  void fill(const Tensor& target, uint64_t seed, std::string_view name) const;
  /// What fill writes into `count` elements, before rounding.
  std::vector<double> draw(int64_t count, uint64_t seed, std::string_view name) const;

 private:
  enum class Kind : uint8_t { values, drawn, normal, uniform };
  /// Calls store(i, value) for all elements, from several threads.
  template <class Store>
  void generate(int64_t count, uint64_t seed, std::string_view name, const Store& store) const;

  Kind kind_ = Kind::values;
  double low_ = 0, scale_ = 0;  // a number is low_ + scale_ times a standard one
  std::function<double(int64_t)> value_, factor_;
  Draw draw_;
};

}  // namespace mara::nn
