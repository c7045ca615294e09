#pragma once

#include "core/tensor.h"

namespace mara::ops {

/// Entries of an axis picked by number: y[..., m, ...] = x[..., index[m], ...]. index (M) i32, each in [0, size of
/// the axis): the caller guarantees it. The backward sums repeated entries in the order of m. Saves the index.
Tensor gather(const Tensor& x, int axis, const Tensor& index);

/// Rows of a table: ids (...) i32 in [0, V), table (V, D) -> (..., D) in dtype `out`. Saves the ids.
Tensor embedding(const Tensor& table, const Tensor& ids, Dtype out);

}  // namespace mara::ops
