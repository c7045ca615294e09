#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "train/loaded_model.h"

namespace mara::weights {

struct ExportOptions {
  std::filesystem::path to;   // .safetensors or .h5
  std::string names = "own";  // see NameMap
  std::optional<Dtype>
      dtype;           // f32, or bf16 for what the model may round: norms, biases, filters and constants stay f32
  bool force = false;  // replace a file
};

/// Writes every parameter, constants included, with the resolved recipe, the step and what is tied. What has several
/// names is there under each of them, which strict readers of other layouts want, but once under our own names. Without
/// a dtype the bits are the checkpoint's. Returns the number of tensors. Throws Error for what check_target refuses.
size_t export_weights(const train::LoadedModel& loaded, const ExportOptions& options);

}  // namespace mara::weights
