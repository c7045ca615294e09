#pragma once

#include <memory>
#include <optional>

#include "core/random.h"
#include "eval/evaluate.h"
#include "nn/parameter_arena.h"
#include "train/batches.h"
#include "train/device_value.h"
#include "train/recipe.h"
#include "train/run_folder.h"

namespace mara::train {

/// How a run ended.
struct Outcome {
  int64_t steps = 0;
  int64_t skipped = 0;
  double seconds = 0;            // of training, evaluations on `valid` included
  double tokens_per_second = 0;  // input tokens, over these seconds
  bool stopped_early = false;    // train.stop_when was met
  std::optional<eval::Evaluation> test;
};

/// Trains a recipe's model. The order of everything follows from the recipe alone: same recipe, same device type,
/// same bits, whatever the number of threads.
class Trainer {
 public:
  /// Builds model, arena and optimiser. Throws Error for a recipe that cannot run on this device.
  Trainer(const Recipe& recipe, Device device);

  /// Runs to the end. Metrics go to the folder as they arrive. Throws Failure when steps keep coming out not finite.
  Outcome run(RunFolder& folder);

  /// One optimiser step, 0-based; steps must be taken in order.
  StepMetrics step(int64_t step);

  const nn::ParameterArena& arena() const { return arena_; }
  models::Model& model() { return *model_; }
  eval::Evaluation evaluate(tasks::Split split, int64_t examples);

 private:
  void micro_step(int64_t micro);
  void finish_step();

  Recipe recipe_;
  Device device_;
  std::unique_ptr<tasks::Task> task_;
  std::unique_ptr<models::Model> model_;
  nn::ParameterArena arena_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  Batches batches_;
  Pool step_pool_;
  DeviceValue<kernels::StepScalars> scalars_;
  DeviceValue<kernels::StepReport> report_;
  RandomStream random_;
  Tensor loss_sum_, count_;  // (1) f32 | f64, summed over the micro-batches of a step
};

}  // namespace mara::train
