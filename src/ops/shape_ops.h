#pragma once
// Views and copies that change an arrangement. reshape and narrow along the first axis are methods of Tensor: they
// stay contiguous and need no op. There are no hidden copies: an op that needs contiguous input says so.

#include "core/tensor.h"

namespace mara::ops {

/// Axes reordered: out axis i is axis order[i] of x. A strided view, no copy.
Tensor permute(const Tensor& x, std::initializer_list<int> order);
/// Two axes swapped. A strided view, no copy.
Tensor transpose(const Tensor& x, int axis_a, int axis_b);
/// `count` entries from `start` along any axis. A strided view, no copy.
Tensor slice(const Tensor& x, int axis, int64_t start, int64_t count);
/// An axis of size 1 repeated `count` times. A strided view, no copy; its gradient is the sum over the axis.
Tensor expand(const Tensor& x, int axis, int64_t count);
/// The same values laid out row-major; x itself if it already is.
Tensor contiguous(const Tensor& x);
/// Tensors of one dtype joined along an axis; the other axes agree.
Tensor concat(const std::vector<Tensor>& parts, int axis);

}  // namespace mara::ops
