#include "weights/export.h"

#include <nlohmann/json.hpp>

#include "weights/names.h"
#include "weights/weights_file.h"

namespace mara::weights {
namespace {

Dtype stored_dtype(const nn::Parameter& parameter, const std::optional<Dtype>& asked) {
  if (!asked) return parameter.master().dtype();
  return parameter.hints().trainable && parameter.hints().precision == nn::Precision::compute ? *asked : Dtype::f32;
}

}  // namespace

size_t export_weights(const train::LoadedModel& loaded, const ExportOptions& options) {
  const NameMap map(options.names, loaded.recipe, *loaded.model);
  std::vector<WrittenTensor> tensors;
  nlohmann::json tied = nlohmann::json::array();
  for (const NamedParameter& named : map.parameters()) {
    const Tensor& values = named.parameter->master();
    tensors.push_back({.name = named.theirs[0],
                       .dtype = stored_dtype(*named.parameter, options.dtype),
                       .shape = named.shape,
                       .values = values.view().data,
                       .source = values.dtype()});
    for (size_t i = 1; i < named.theirs.size(); ++i) tied.push_back({named.theirs[i], named.theirs[0]});
  }
  write_weights(
      options.to, tensors,
      {{"recipe", config::to_yaml(loaded.recipe)}, {"step", std::to_string(loaded.step)}, {"tied", tied.dump()}},
      options.force);
  return tensors.size();
}

}  // namespace mara::weights
