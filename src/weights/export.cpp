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
  const io::Existing existing = check_target(options.to, {}, options.force);
  const NameMap map(options.names, *loaded.model);
  std::vector<WrittenTensor> tensors;
  nlohmann::json tied = nlohmann::json::array();
  for (const NamedParameter& named : map.parameters()) {
    const Tensor& values = named.parameter->master();
    for (const std::string& name : named.theirs) {
      if (name != named.theirs[0]) tied.push_back({name, named.theirs[0]});
      if (name != named.theirs[0] && map.shared_once()) continue;
      tensors.push_back({.name = name,
                         .dtype = stored_dtype(*named.parameter, options.dtype),
                         .shape = named.shape,
                         .values = values.view().data,
                         .source = values.dtype()});
    }
  }
  write_weights(
      options.to, tensors,
      {{"recipe", config::to_yaml(loaded.recipe)}, {"step", std::to_string(loaded.step)}, {"tied", tied.dump()}},
      existing);
  return tensors.size();
}

}  // namespace mara::weights
