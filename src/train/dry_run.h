#pragma once

#include <memory>

#include "nn/parameter_arena.h"
#include "train/recipe.h"

namespace mara::train {

/// A recipe's run on the meta device: what a Trainer does, with exact shapes and no data. A model with billions of
/// parameters takes milliseconds. Whoever wants to know the launches observes them (kernels::ObserverScope).
class DryRun {
 public:
  explicit DryRun(const Recipe& recipe);

  models::Model& model() { return *model_; }
  const nn::ParameterArena& arena() const { return arena_; }
  const optim::Optimizer& optimizer() const { return *optimizer_; }
  /// Of the tensors of steps and evaluations so far.
  int64_t peak_bytes() const { return pool_.peak_bytes(); }

  /// Forward and backward of one micro-batch. Returns its tokens.
  int64_t micro_step(bool first);
  /// Every micro-batch, and the update.
  void step();
  /// Forward of one batch of an evaluation.
  void evaluate();

 private:
  ops::Loss loss(int64_t rows, bool training);

  const Recipe recipe_;
  const models::ModelSetup setup_;
  Pool pool_;
  std::unique_ptr<models::Model> model_;
  nn::ParameterArena arena_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  Tensor loss_sum_, count_;
};

}  // namespace mara::train
