#pragma once

#include "core/tensor.h"

namespace mara::ops {

struct CrossEntropy {
  Tensor sum;          // (1) f32 | f64, the differentiable result: sum of the losses of scored targets
  Tensor count;        // (1) f32 | f64, number of scored targets
  Tensor token_loss;   // (N) f32 | f64, 0 where not scored
  Tensor predictions;  // (N) i32, argmax of the logits; absent unless asked for
};

/// Output layer and loss in one, through chunks of tokens: the (N, V) logits never exist at once.
/// x (N, D), weight (V, D) of one dtype; targets (N) i32, kernels::kIgnoredTarget where not scored. If gradients will
/// be asked for, they are computed in the same pass and saved: (N, D) and (V, D).
CrossEntropy linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, bool predictions);

}  // namespace mara::ops
