#pragma once

#include <filesystem>
#include <string>

#include "train/recipe.h"

namespace mara::weights {

struct ImportOptions {
  std::filesystem::path from;  // .safetensors or .h5
  std::filesystem::path to;    // the checkpoint
  std::string names = "own";   // see NameMap
  bool force = false;          // replace a file
};

/// Makes a checkpoint of step 0, with a fresh optimiser, of the recipe's model with a file's weights. F16, BF16 and F64
/// are converted. A constant that the file lacks is as the recipe computes it. Throws one Error with the differences of
/// names, shapes and dtypes; others for numbers that are not finite, for what check_target refuses, and for a
/// checkpoint in place of which a trained one would be lost.
void import_weights(const train::Recipe& recipe, const ImportOptions& options);

}  // namespace mara::weights
