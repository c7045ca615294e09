#pragma once

#include "optim/optimizer.h"

namespace mara::optim {

/// AdamW (Loshchilov and Hutter, 1711.05101) over the flat arena: one norm launch and one update launch. The global
/// norm of the mean gradient is clipped; each parameter's hints decide its share of the learning rate and its decay.
class AdamW : public Optimizer {
 public:
  AdamW(const OptimConfig& config, const nn::ParameterArena& arena);
  void step(const StepTensors& tensors) override;
  void state(StateVisitor& visitor) override;
  int64_t memory_bytes() const override;

 private:
  OptimConfig config_;
  const nn::ParameterArena& arena_;
  Tensor m_, v_;         // (n) f32 | f64
  Tensor grad_squares_;  // (1) f64
  Tensor ranges_;        // bytes of AdamWRange, in device memory
  int64_t range_count_;
};

}  // namespace mara::optim
