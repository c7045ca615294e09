#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// x (D, L) times windows that decay at rates (D) over times (L): y[d, l] = x[d, l] (exp(-|rate[d]| time[l]) + shift),
/// the modulation of Hyena's filters (Poli et al., 2302.10866). All f32 or all f64. The times have no gradient.
/// Saves x.
Tensor decay_window(const Tensor& x, const Tensor& rate, const Tensor& time, double shift = 0);

}  // namespace mara::ops
