#include "models/autoencoder.h"

#include <cmath>

#include "ops/elementwise.h"
#include "ops/shape_ops.h"

namespace mara::models {
namespace {

double place(int64_t t, int64_t i, int64_t width) {
  const double angle =
      static_cast<double>(t) / std::pow(10000.0, static_cast<double>(i - i % 2) / static_cast<double>(width));
  return i % 2 == 0 ? std::sin(angle) : std::cos(angle);
}

int64_t decoder_width(const AutoencoderOptions& options) {
  return options.decoder_width > 0 ? options.decoder_width : options.backbone.width;
}

}  // namespace

void AutoencoderOptions::fields(config::Fields& f, const ModelSetup& setup) {
  f.field("decoder_width", decoder_width, "hidden units of the decoder's two layers; 0: as many as the width",
          config::between(0, 1 << 20));
  backbone.fields(f, setup);
  f.require(setup.targets == setup.length && !setup.values, "kind",
            "an autoencoder needs a target token at every position, this task has others; use " +
                std::string(setup.values ? "regressor" : "classifier"));
}

std::unique_ptr<Model> AutoencoderOptions::make(const ModelSetup& setup) const {
  return std::make_unique<Autoencoder>(*this, setup);
}

Autoencoder::Autoencoder(const AutoencoderOptions& options, const ModelSetup& setup)
    : options_(options),
      backbone_(&child("", std::make_unique<Backbone>(options.backbone, setup, setup.vocabulary))),
      places_(param(
          "places", {setup.length, options.backbone.width},
          nn::Init::values([width = options.backbone.width](int64_t i) { return place(i / width, i % width, width); }),
          nn::learned_at(0))),
      head_(param("head", {setup.classes, decoder_width(options)}, nn::Init::normal(options.backbone.init_std))) {
  const Dtype compute = setup.precision.compute_dtype();
  int64_t width = options.backbone.width;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string name = "decoder." + std::to_string(i);
    layers_[i].norm = &child(name + ".norm", nn::make_norm(options.backbone.norm, width, compute));
    layers_[i].linear = &child(
        name, std::make_unique<nn::Linear>(width, decoder_width(options), nn::Init::normal(options.backbone.init_std)));
    width = decoder_width(options);
  }
  norm_ = &child("decoder.norm", nn::make_norm(options.backbone.norm, width, compute));
}

ops::Loss Autoencoder::loss(const Batch& batch, const nn::Context& context, bool predictions) {
  const Tensor x = backbone_->forward(batch, context);
  const int64_t length = x.size(1);
  const Tensor last = ops::slice(x, 1, length - 1, 1);
  Tensor y = ops::add(ops::contiguous(ops::expand(last, 1, length)), places_.value().narrow(0, length));
  for (const Layer& layer : layers_) y = ops::gelu_tanh(layer.linear->forward(layer.norm->forward(y)));
  y = norm_->forward(y);
  return ops::linear_cross_entropy(y.reshape({batch.targets.numel(), y.size(2)}), head_.value(),
                                   batch.targets.reshape({batch.targets.numel()}), predictions);
}

}  // namespace mara::models
