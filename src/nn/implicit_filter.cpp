#include "nn/implicit_filter.h"

#include <cmath>
#include <numbers>

#include "ops/decay_window.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/reduce.h"

namespace mara::nn {
namespace {

double linspace(double first, double last, int64_t count, int64_t i) {
  return count == 1 ? first : first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1);
}

}  // namespace

void ImplicitFilterOptions::fields(config::Fields& f) {
  f.field("width", width, "width of the filter network", config::between(1, 1 << 20));
  f.field("features", features, "positional features: t and pairs of cosines and sines", config::odd_at_least(3));
  f.field("inner_layers", inner_layers, "layers between the first and the output", config::between(0, 1000));
  f.field("frequency", frequency, "initial frequency of the sines", config::above(0));
  f.field("init", init, "weights: `model` as the model's other matrices, `framework` uniform 1/sqrt(fan in)",
          config::one_of({"model", "framework"}));
  f.field("lr_scale", lr_scale, "learning rate of network and frequencies, times the model's", config::at_least(0));
  f.field("weight_decay", weight_decay, "decay the network's matrices");
  f.field("features_lr_scale", features_lr_scale, "the same for the features; 0: they are constants",
          config::at_least(0));
  f.field("modulate", modulate, "multiply by exponentials that decay at a rate per channel");
  f.field("fast_decay", fast_decay, "fraction of the length at which the fastest channel reaches the target",
          config::above(0));
  f.field("slow_decay", slow_decay, "the same for the slowest channel", config::above(0));
  f.field("decay_target", decay_target, "what the exponentials reach there", config::between(1e-12, 1));
  f.field("decay_shift", decay_shift, "added to the exponentials");
  f.field("decay_lr_scale", decay_lr_scale, "learning rate of the decay rates; 0: they are constants",
          config::at_least(0));
  f.field("normalize", normalize, "divide by the sum of magnitudes over the channels at each position");
}

ImplicitFilter::Network::Network(const ImplicitFilterOptions& options, int64_t channels, double model_std) {
  const bool framework = options.init == "framework";
  const auto weight = [&](int64_t fan_in) { return framework ? Init::fan_in(fan_in) : Init::normal(model_std); };
  Linear::Options linear;
  linear.hints = learned_at(options.lr_scale);
  if (options.weight_decay) linear.hints.decay = Decay::matrix;
  int64_t in = options.features;
  for (int64_t i = 0; i <= options.inner_layers; ++i) {
    linear.bias_init = framework ? Init::fan_in(in) : Init::zeros();
    layers.push_back(
        &child("layer" + std::to_string(i), std::make_unique<Linear>(in, options.width, weight(in), linear)));
    in = options.width;
  }
  linear.bias = false;
  output = &child("output", std::make_unique<Linear>(in, channels, weight(in), linear));
}

ImplicitFilter::ImplicitFilter(const ImplicitFilterOptions& options, int64_t channels, int64_t max_length,
                               double model_std, bool bidirectional)
    : options_(options), channels_(channels), max_length_(max_length) {
  const int64_t bands = (options.features - 1) / 2;
  const auto time = [max_length](int64_t t) {
    return max_length == 1 ? 0.0 : static_cast<double>(t) / static_cast<double>(max_length - 1);
  };
  const auto feature = [=, count = options.features](int64_t i) {
    const int64_t t = i / count, column = i % count;
    if (column == 0) return time(t);
    const double w = 2 * std::numbers::pi * static_cast<double>(t) / static_cast<double>(max_length);
    const double angle = w * linspace(1e-4, static_cast<double>(bands - 1), bands, (column - 1) % bands);
    return column <= bands ? std::cos(angle) : -std::sin(angle);
  };
  features_ =
      &param("features", {max_length, options.features}, Init::values(feature), learned_at(options.features_lr_scale));
  time_ = &param("time", {max_length, 1}, Init::values(time), learned_at(0));
  frequency_ = &param("frequency", {options.width}, Init::constant(options.frequency), learned_at(options.lr_scale));
  if (options.modulate) {
    const double target = std::log(options.decay_target);
    const auto rate = [=, slow = target / options.slow_decay, fast = target / options.fast_decay](int64_t c) {
      return linspace(slow, fast, channels, c);
    };
    decay_ = &param("decay", {1, channels}, Init::values(rate), learned_at(options.decay_lr_scale));
  }
  forward_ = &child("forward", std::make_unique<Network>(options, channels, model_std));
  if (bidirectional) reverse_ = &child("reverse", std::make_unique<Network>(options, channels, model_std));
}

Tensor ImplicitFilter::taps(const Network& network, int64_t length) const {
  Tensor h = features_->value().narrow(0, length);
  for (const Linear* layer : network.layers) h = ops::sin(ops::mul(layer->forward(h), frequency_->value()));
  h = ops::linear_to_channels(h.reshape({1, length, options_.width}), network.output->weight());
  h = h.reshape({channels_, length});
  if (options_.modulate) {
    const Tensor time = time_->value().narrow(0, length).reshape({length});
    h = ops::decay_window(h, decay_->value().reshape({channels_}), time, options_.decay_shift);
  }
  if (!options_.normalize) return h;
  return ops::mul(h, ops::reciprocal(ops::sum(ops::abs(h), 0)));
}

}  // namespace mara::nn
