#pragma once
// Where an interrupted run goes on.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "train/recipe.h"

namespace mara::train {

struct ResumePoint {
  std::optional<checkpoint::Checkpoint> from;  // none: the run was stopped before its first checkpoint
  std::vector<checkpoint::Found> in_folder;    // every valid checkpoint of the run folder, by step

  int64_t step() const { return from ? from->step() : 0; }
};

/// `which`: a checkpoint's path, or "latest" for the run folder's newest valid one. Throws Error where there are
/// checkpoints but no valid one: starting anew must not happen by accident.
ResumePoint find_resume_point(const std::filesystem::path& run_folder, const std::string& which);

/// Throws Error naming every key of the recipe that differs from the checkpoint's and would have made its run another
/// one. May differ: run.name, eval.*, checkpoint.*, log.*, train.max_skipped, train.stop_when.*; and train.steps and
/// schedule.* as long as the steps already taken had the learning rates they would have now.
void check_same_run(const Recipe& recipe, const checkpoint::Checkpoint& from);

}  // namespace mara::train
