#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// Sum over one axis, which disappears. f32, bf16 (accumulated in f32) or f64. Saves nothing.
Tensor sum(const Tensor& x, int axis);
/// Sum of all elements, shape (1).
Tensor sum_all(const Tensor& x);
/// Mean over one axis, which disappears.
Tensor mean(const Tensor& x, int axis);

}  // namespace mara::ops
