#include "models/regressor.h"

namespace mara::models {

void RegressorOptions::fields(config::Fields& f, const ModelSetup& setup) {
  backbone.fields(f, setup);
  f.require(setup.values, "kind",
            "a regressor needs a task of real numbers to predict, this one has classes; use " +
                std::string(setup.targets == setup.length ? "language_model" : "classifier"));
  f.require(backbone.causal, "causal", "must be true: later positions show the values that are asked for");
}

std::unique_ptr<Model> RegressorOptions::make(const ModelSetup& setup) const {
  return std::make_unique<Regressor>(*this, setup);
}

Regressor::Regressor(const RegressorOptions& options, const ModelSetup& setup)
    : options_(options),
      backbone_(&child("", std::make_unique<Backbone>(options.backbone, setup, setup.vocabulary))),
      head_(child("head", std::make_unique<nn::Linear>(options.backbone.width, 1,
                                                       nn::Init::normal(options.backbone.init_std)))) {}

ops::Loss Regressor::loss(const Batch& batch, const nn::Context& context, bool) {
  const Tensor y = head_.forward(backbone_->forward(batch, context));
  const Shape flat{batch.targets.numel()};
  return ops::squared_error(y.reshape(flat), batch.values.reshape(flat), batch.targets.reshape(flat));
}

}  // namespace mara::models
