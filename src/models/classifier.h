#pragma once

#include "models/backbone.h"

namespace mara::models {

struct ClassifierOptions : ModelOptions {
  std::string pooling = "mean";
  BackboneConfig backbone;

  void fields(config::Fields& f, const ModelSetup& setup) override;
  std::unique_ptr<Model> make(const ModelSetup& setup) const override;
};

/// tokens or real inputs -> backbone -> mean over the positions, or the last one -> linear map to the classes: what
/// sequence classification in the Long Range Arena uses (2011.04006).
///
/// Padding, the id 0 at the end of padded data, takes no part in the pooling. A causal mixer never sees it before it
/// has read all else; to one that looks both ways it is a token like others, as in the published settings.
class Classifier : public Model {
 public:
  Classifier(const ClassifierOptions& options, const ModelSetup& setup);

  ops::Loss loss(const Batch& batch, const nn::Context& context, bool predictions) override;
  bool turns_positions() const override { return options_.backbone.positions == "rotary"; }

 private:
  Tensor pool(const Tensor& x, const Tensor& ids) const;  // (B, L, D) -> (B, D)

  ClassifierOptions options_;
  bool padded_;
  Backbone* backbone_;
  nn::Parameter& head_;
};

}  // namespace mara::models
