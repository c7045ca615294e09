#include "nn/free_filter.h"

#include <cmath>
#include <numbers>

#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/shape_ops.h"
#include "ops/short_conv.h"

namespace mara::nn {
namespace {

Init initial_taps(const std::string& init, int64_t channels, int64_t length) {
  if (init == "random") return Init::normal(0.002);
  return Init::normal(0.02).times([channels, length](int64_t i) {
    const double t = static_cast<double>(i % length) / static_cast<double>(length);
    const double c = static_cast<double>(i / length % channels) / static_cast<double>(channels);
    return std::exp(-t * std::pow(static_cast<double>(channels / 2), c));
  });
}

}  // namespace

void FreeFilterOptions::fields(config::Fields& f) {
  f.field("init", init, "`random`, or `double_exponential`: decays at a rate per channel",
          config::one_of({"random", "double_exponential"}));
  f.field("lr_scale", lr_scale, "learning rate of the taps, times the model's", config::at_least(0));
  f.field("squash", squash, "what every tap's magnitude is reduced by, down to zero; 0: off", config::at_least(0));
  f.field("smooth", smooth, "taps of the moving average over time; 1: off", config::odd_at_least(1));
  f.require(smooth <= 63, "smooth", "must be at most 63, got " + std::to_string(smooth));
  f.field("smooth_frequency", smooth_frequency, "frequencies of the moving average over the spectrum; 1: off",
          config::odd_at_least(1));
  f.field("dropout", dropout, "of single taps", config::between(0, 0.99));
}

FreeFilter::FreeFilter(const FreeFilterOptions& options, int64_t channels, int64_t filters, int64_t max_length)
    : options_(options), max_length_(max_length) {
  taps_ = &param("taps", {filters * channels, max_length}, initial_taps(options.init, channels, max_length),
                 learned_at(options.lr_scale));
  if (options.smooth_frequency == 1) return;
  const auto window = [max_length, half = options.smooth_frequency / 2](int64_t t) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(t) / static_cast<double>(max_length);
    double sum = 1;
    for (int64_t i = 1; i <= half; ++i) {
      const auto m = static_cast<double>(i);
      sum += 2 * std::exp(-m * m / 2) * std::cos(m * angle);
    }
    return sum;
  };
  window_ = &param("window", {max_length}, Init::values(window), learned_at(0));
}

Tensor FreeFilter::taps(int64_t length, bool training) const {
  MARA_CHECK(length <= max_length_, "free filter: there are ", max_length_, " taps, a length of ", length,
             " is too long");
  Tensor k = smooth(taps_->value(), options_.smooth);
  if (window_ != nullptr) k = ops::mul(k, window_->value());
  k = squash(k, options_.squash);
  if (training) k = ops::dropout(k, options_.dropout);
  return length == max_length_ ? k : ops::contiguous(ops::slice(k, 1, 0, length));
}

Tensor squash(const Tensor& k, double threshold) {
  if (threshold == 0) return k;
  const Tensor below = ops::full({k.size(1)}, -threshold, k.dtype(), k.device());
  const Tensor positive = ops::relu(ops::add(k, below)), negative = ops::relu(ops::add(ops::scale(k, -1), below));
  return ops::add(positive, ops::scale(negative, -1));
}

// The causal short convolution of the taps and half a width of zeros behind them, from half a width on.
Tensor smooth(const Tensor& k, int64_t width) {
  if (width == 1) return k;
  const int64_t rows = k.size(0), length = k.size(1), half = width / 2;
  const Tensor longer =
      ops::concat({k, ops::full({rows, half}, 0, k.dtype(), k.device())}, 1).reshape({rows, 1, length + half});
  const Tensor weight = ops::full({rows, width}, 1.0 / static_cast<double>(width), k.dtype(), k.device());
  return ops::contiguous(ops::slice(ops::short_conv(longer, weight, {}), 2, half, length)).reshape(k.shape());
}

}  // namespace mara::nn
