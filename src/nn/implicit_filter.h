#pragma once
// Hyena's implicit filter: a small network of the position makes the taps.

#include "config/fields.h"
#include "nn/linear.h"

namespace mara::nn {

struct ImplicitFilterOptions {
  int64_t width = 64;
  int64_t features = 5;
  int64_t inner_layers = 2;
  double frequency = 10;
  std::string init = "model";
  double lr_scale = 1;
  bool weight_decay = false;
  double features_lr_scale = 0;
  bool modulate = true;
  double fast_decay = 0.3;
  double slow_decay = 1.5;
  double decay_target = 0.01;
  double decay_shift = 0;
  double decay_lr_scale = 0;
  bool normalize = false;

  void fields(config::Fields& f);
};

/// Taps k[c, t] for t in [0, L), L <= max_length (Poli et al., 2302.10866):
///   z[t] = [t', cos(f_j w), ..., -sin(f_j w), ...], t' = t / (max_length - 1), w = 2 pi t / max_length,
///          f = linspace(1e-4, bands - 1, bands), bands = (features - 1) / 2
///   h = sin(phi * (W h + b)), 1 + inner_layers times, one phi shared by all; then a linear map without bias
///   k[c, t] = h[c, t] (exp(-t' |delta_c|) + shift), delta = linspace(ln(target) / slow, ln(target) / fast, channels)
///   normalize: divided by the sum of |k| over the channels at each t.
/// A shorter L takes the first L rows of the same features. Everything in f32 (f64 for f64 models). A second filter
/// that shares phi can be made from the first (bidirectional models).
class ImplicitFilter : public Module {
 public:
  ImplicitFilter(const ImplicitFilterOptions& options, int64_t channels, int64_t max_length, double model_std,
                 bool bidirectional);

  /// (channels, L)
  Tensor forward(int64_t length) const { return taps(*forward_, length); }
  /// (channels, L): the taps for lags -1, -2, ..., of a bidirectional filter.
  Tensor reverse(int64_t length) const { return taps(*reverse_, length); }

 private:
  struct Network : Module {
    Network(const ImplicitFilterOptions& options, int64_t channels, double model_std);
    std::vector<Linear*> layers;
    Linear* output = nullptr;
  };
  Tensor taps(const Network& network, int64_t length) const;

  ImplicitFilterOptions options_;
  int64_t channels_, max_length_;
  Parameter *features_, *time_, *frequency_, *decay_ = nullptr;
  Network *forward_, *reverse_ = nullptr;
};

}  // namespace mara::nn
