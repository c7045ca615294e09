// Every model family, one line each.

#include <stdexcept>

#include "models/language_model.h"
#include "models/model.h"

namespace mara::models {
namespace {

struct Entry {
  const char* kind;
  std::shared_ptr<ModelOptions> (*make)();
};

template <class Options>
std::shared_ptr<ModelOptions> make() {
  return std::make_shared<Options>();
}

constexpr Entry kModels[] = {
    {"language_model", &make<LanguageModelOptions>},
};

}  // namespace

Generation Model::start(int64_t, int64_t) const {
  throw Error("generating: this kind of model cannot go on token by token; use one of another kind");
}
Tensor Model::prefill(const Tensor&, Generation&) const {
  throw std::logic_error("internal error: a model that starts must also go on");
}

void ModelConfig::fields(config::Fields& f, const ModelSetup& setup) {
  std::vector<std::string> kinds;
  for (const Entry& entry : kModels) kinds.push_back(entry.kind);
  std::string bound = options != nullptr ? kind : "";
  f.kind("kind", kind, kinds, "model family", [&](const std::string& name) {
    for (const Entry& entry : kModels) {
      if (name == entry.kind && name != bound) options = entry.make();
    }
    bound = name;
    options->fields(f, setup);
  });
}

void Precision::fields(config::Fields& f) {
  f.field("compute", compute, "matrices and branches; f64 only on a CPU", config::one_of({"f32", "bf16", "f64"}));
  f.field("residual", residual, "the stream between blocks; f64 models have it in f64",
          config::one_of({"f32", "bf16"}));
}

Dtype Precision::residual_dtype() const { return compute_dtype() == Dtype::f64 ? Dtype::f64 : parse_dtype(residual); }

}  // namespace mara::models
