#pragma once

#include <memory>
#include <string>

#include "config/fields.h"
#include "kernels/optim.h"
#include "nn/parameter_arena.h"

namespace mara::optim {

/// The recipe's `optim:` mapping.
struct OptimConfig {
  std::string kind = "adamw";
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.1;
  std::string decay = "matrices";  // or all, as in the published H3 and Hyena models
  double clip = 1;

  void fields(config::Fields& f);

  /// What a parameter with these hints has of the schedule's learning rate: at most hints.max_lr of optim.lr.
  float lr_scale(const nn::ParamHints& hints) const;
  /// Its decay, 0 where it is not decayed.
  double decay_of(const nn::ParamHints& hints) const;
};

/// What an optimiser reads and writes in device memory during a step.
struct StepTensors {
  Tensor loss_sum, count;  // (1) f32 | f64, summed over the micro-batches
  const kernels::StepScalars* scalars = nullptr;
  kernels::StepReport* report = nullptr;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Enqueues one update from the arena's gradients, normalised by count and clipped; never waits. A step whose loss
  /// or gradient is not finite, or that scored nothing, leaves the weights alone and says so in the report.
  virtual void step(const StepTensors& tensors) = 0;
  /// What it remembers from step to step, per parameter: "optimizer.<what>.<parameter>".
  virtual void state(StateVisitor& visitor) = 0;
  virtual int64_t memory_bytes() const = 0;
};

/// The arena must outlive the optimiser.
std::unique_ptr<Optimizer> make_optimizer(const OptimConfig& config, const nn::ParameterArena& arena);

}  // namespace mara::optim
