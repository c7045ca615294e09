#pragma once
// A trained model, read back: what evaluating, generating and exporting start from.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "models/model.h"
#include "nn/parameter_arena.h"
#include "train/recipe.h"

namespace mara::train {

struct LoadedModel {
  Recipe recipe;  // the resolved one it was trained with
  std::unique_ptr<models::Model> model;
  std::unique_ptr<nn::ParameterArena> arena;
  int64_t step = 0;
  std::filesystem::path path;  // of the checkpoint
};

/// The checkpoint that is meant by a checkpoint's path, a run folder or a folder of checkpoints: of a folder its newest
/// valid one. Throws Error where there is none.
std::filesystem::path find_checkpoint(const std::filesystem::path& checkpoint_or_folder);

/// Builds the checkpoint's recipe, with "a.b=value" overrides, and fills the weights in; the rest of the state (the
/// optimiser's, twice as large) is verified but not kept. Throws Error for what is no checkpoint or does not fit.
LoadedModel load_model(const std::filesystem::path& checkpoint_or_folder, Device device,
                       const std::vector<std::string>& overrides = {});

}  // namespace mara::train
