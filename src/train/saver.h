#pragma once

#include "checkpoint/checkpoint_writer.h"
#include "eval/evaluate.h"
#include "train/recipe.h"
#include "train/run_folder.h"

namespace mara::train {

/// Saves a run's state when its recipe's `checkpoint:` says so, and at the end.
class Saver {
 public:
  Saver(const Recipe& recipe, const RunFolder& folder, checkpoint::StateFunction state);

  /// An evaluation of the state after this step: what checkpoint.best compares.
  void evaluated(int64_t step, const eval::Evaluation& valid);
  bool due(int64_t step) const { return config_.every > 0 && step % config_.every == 0; }
  /// Saves the state of a step that is due. Returns after a copy of the state.
  void step(int64_t step);
  /// Saves the last state unless that is done, and waits. Throws Failure if it cannot be saved.
  void finish(int64_t step);

 private:
  bool save(int64_t step);

  CheckpointConfig config_;
  std::string recipe_;
  checkpoint::CheckpointWriter writer_;
  int64_t saved_step_ = -1;  // or being written
  bool warned_ = false;
  int64_t scored_step_ = -1;
  checkpoint::Score score_;
};

}  // namespace mara::train
