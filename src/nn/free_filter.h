#pragma once
// Long filters that are parameters themselves.

#include "config/fields.h"
#include "nn/module.h"

namespace mara::nn {

struct FreeFilterOptions {
  std::string init = "random";
  double lr_scale = 1;
  double squash = 0.003;
  int64_t smooth = 1;
  int64_t smooth_frequency = 1;
  double dropout = 0;

  void fields(config::Fields& f);
};

/// Taps k[r, t] of R = filters * channels long filters, row f * channels + c being filter f of channel c (LongConv, Fu
/// et al., 2302.06646), all f32 (f64 for f64 models):
///   init: random N(0, 0.002^2); double_exponential N(0, 0.02^2) exp(-(t / L) floor(channels / 2)^(c / channels))
///   smooth: mean of the odd number of taps, up to 63, around t, zero outside: attenuated at both ends
///   smooth_frequency: the spectrum is convolved with exp(-m^2 / 2), |m| <= half of the odd number. We take it as the
///     periodic function that it is, so no border is special, and this is a product with
///     1 + 2 sum_m exp(-m^2 / 2) cos(2 pi m t / L).
///   squash: sign(k) max(|k| - squash, 0). Of the random init 13 % of the taps survive the default; the gradient of the
///     others is exactly zero and nothing decays them, so a tap that is out stays out (but for the optimiser's
///     momentum).
///   dropout: of single taps, the same for the whole batch, in training only
/// in this order, on the whole length L: a shorter one takes the first taps.
class FreeFilter : public Module {
 public:
  FreeFilter(const FreeFilterOptions& options, int64_t channels, int64_t filters, int64_t max_length);
  /// (R, length)
  Tensor taps(int64_t length, bool training) const;

 private:
  FreeFilterOptions options_;
  int64_t max_length_;
  Parameter *taps_, *window_ = nullptr;
};

/// sign(k) max(|k| - threshold, 0): soft thresholding of k (R, L). Gradient 0 where |k| <= threshold.
Tensor squash(const Tensor& k, double threshold);
/// Mean of `width` (odd) entries around each of k (R, L), zeros outside: linear and its own transpose.
Tensor smooth(const Tensor& k, int64_t width);

}  // namespace mara::nn
