// Every model family, one line each.

#include "config/kinds.h"
#include "models/autoencoder.h"
#include "models/classifier.h"
#include "models/language_model.h"
#include "models/model.h"
#include "models/regressor.h"

namespace mara::models {
namespace {

constexpr config::Kind<ModelOptions> kModels[] = {
    config::kind<ModelOptions, AutoencoderOptions>("autoencoder"),
    config::kind<ModelOptions, ClassifierOptions>("classifier"),
    config::kind<ModelOptions, LanguageModelOptions>("language_model"),
    config::kind<ModelOptions, RegressorOptions>("regressor"),
};

}  // namespace

void ModelConfig::fields(config::Fields& f, const ModelSetup& setup) {
  config::bind_kind(f, kModels, kind, options, "model family", setup);
}

void Precision::fields(config::Fields& f) {
  f.field("compute", compute, "matrices and branches; f64 only on a CPU", config::one_of({"f32", "bf16", "f64"}));
  f.field("residual", residual, "the stream between blocks; f64 models have it in f64",
          config::one_of({"f32", "bf16"}));
}

Dtype Precision::residual_dtype() const { return compute_dtype() == Dtype::f64 ? Dtype::f64 : parse_dtype(residual); }

}  // namespace mara::models
