#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// y = mask ? a : b, elementwise. mask is i32, its shape a prefix of a's (broadcast over the trailing axes). The
/// backward selects too, so an infinite value on the side not taken never becomes NaN. Saves the mask.
Tensor select(const Tensor& mask, const Tensor& a, const Tensor& b);

}  // namespace mara::ops
