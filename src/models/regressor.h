#pragma once

#include "models/backbone.h"

namespace mara::models {

struct RegressorOptions : ModelOptions {
  BackboneConfig backbone;

  void fields(config::Fields& f, const ModelSetup& setup) override;
  std::unique_ptr<Model> make(const ModelSetup& setup) const override;
};

/// tokens or real inputs -> backbone -> linear map to one number per position, judged by its squared error: functions
/// learned in context (Garg et al., 2208.01066).
class Regressor : public Model {
 public:
  Regressor(const RegressorOptions& options, const ModelSetup& setup);

  ops::Loss loss(const Batch& batch, const nn::Context& context, bool predictions) override;
  bool turns_positions() const override { return options_.backbone.positions == "rotary"; }

 private:
  RegressorOptions options_;
  Backbone* backbone_;
  nn::Linear& head_;
};

}  // namespace mara::models
