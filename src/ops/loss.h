#pragma once

#include "core/tensor.h"

namespace mara::ops {

struct Loss {
  Tensor sum;          // (1) f32 | f64, the differentiable result: sum of the losses of scored targets
  Tensor count;        // (1) f32 | f64, number of scored targets
  Tensor token_loss;   // (N) f32 | f64, 0 where not scored
  Tensor predictions;  // (N) i32, argmax of the logits; absent unless asked for, and where there are no classes
};

/// Output layer and loss in one, through chunks of tokens: the (N, V) logits never exist at once.
/// x (N, D), weight (V, D) of one dtype; targets (N) i32, kernels::kIgnoredTarget where not scored. If gradients will
/// be asked for, they are computed in the same pass and saved: (N, D) and (V, D).
Loss linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets, bool predictions);

/// (x - value)^2 at each scored position: x (N) f32, bf16 or f64; values (N) f32 | f64; targets (N) i32, 0 where
/// scored, kernels::kIgnoredTarget where not. In f32 (f64 for f64). A value that is not scored may be anything, NaN
/// too.
Loss squared_error(const Tensor& x, const Tensor& values, const Tensor& targets);

}  // namespace mara::ops
