#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "core/random.h"
#include "eval/evaluate.h"
#include "nn/parameter_arena.h"
#include "train/batches.h"
#include "train/captured_step.h"
#include "train/device_value.h"
#include "train/recipe.h"
#include "train/run_folder.h"

namespace mara::train {

/// How far a run has come.
struct Position {
  int64_t step = 0;  // steps done
  int64_t skipped = 0, skipped_in_a_row = 0;
  int64_t good_evaluations = 0;  // in a row

  void state(StateVisitor& visitor);
};

/// Everything a run goes on from, of its parts: what a checkpoint holds.
void run_state(StateVisitor& visitor, const Recipe& recipe, uint64_t data_hash, const models::Model& model,
               Position& position, nn::ParameterArena& arena, optim::Optimizer& optimizer);

/// Trains a recipe's model. The order of everything follows from the recipe alone: same recipe, same device type,
/// same bits, whatever the number of threads.
class Trainer {
 public:
  /// Builds model, arena and optimiser. Throws Error for a recipe that cannot run on this device.
  Trainer(const Recipe& recipe, Device device);

  /// See run_state.
  void state(StateVisitor& visitor);
  /// Loads it. Throws Error for a checkpoint of another run or that does not fit.
  void resume(const checkpoint::Checkpoint& from);

  /// Runs to the end, or to a SIGINT or SIGTERM. Metrics go to the folder as they arrive. Throws Failure when steps
  /// keep coming out not finite.
  Outcome run(RunFolder& folder);

  /// One optimiser step, 0-based; steps must be taken in order. Waits for its end.
  StepMetrics step(int64_t step);
  /// The same in two halves, so that the host can prepare a step while the device works on the one before: enqueue a
  /// step, and wait for the end of the oldest that was not collected.
  void enqueue(int64_t step);
  StepMetrics collect();
  /// Whether steps are one launch of a graph each by now.
  bool replays() const { return captured_.replayed(); }

  const nn::ParameterArena& arena() const { return arena_; }
  models::Model& model() { return *model_; }
  eval::Evaluation evaluate(tasks::Split split, int64_t examples);

 private:
  int train(RunFolder& folder);  // the signal that ended it, or 0
  void write_samples(RunFolder& folder, tasks::Split split) const;
  double lr(int64_t step) const;
  bool good_enough() const;
  bool finished() const { return position_.step >= recipe_.train.steps || good_enough(); }
  int64_t tokens_per_step() const { return recipe_.train.batch * batches_.source().form().length; }
  void count(const StepMetrics& metrics);
  void count(const eval::Evaluation& valid);
  void body();
  void micro_step(int64_t micro);
  void finish_step();

  using Clock = std::chrono::steady_clock;

  Recipe recipe_;
  Position position_;
  Device device_;
  Pool step_pool_;  // before everything that could keep a tensor of a step
  std::unique_ptr<models::Model> model_;
  nn::ParameterArena arena_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  Batches batches_;
  DeviceInput<kernels::StepScalars> scalars_;
  DeviceOutput<kernels::StepReport> report_;
  RandomStream random_;
  Tensor loss_sum_, count_;  // (1) f32 | f64, summed over the micro-batches of a step
  CapturedStep captured_;
  int64_t collected_ = 0;         // steps whose metrics have been read
  Clock::time_point start_{};     // of training, had its sessions followed one another
  Clock::time_point last_end_{};  // of a step
};

}  // namespace mara::train
