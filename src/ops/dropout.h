#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// Zeroes each element with probability p and scales the rest by 1 / (1 - p) (Srivastava et al., 2014). The mask is a
/// pure function of the step's random stream and is drawn again in backward: nothing is saved. p = 0 returns x.
Tensor dropout(const Tensor& x, double p);

}  // namespace mara::ops
