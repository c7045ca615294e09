#pragma once
// A strided copy as the fewest nested loops.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "core/view.h"

namespace mara::kernels {

/// One loop over x and y.
struct Axis {
  int64_t size = 1, x = 1, y = 1;  // strides
};

/// Nested loops, the outermost first; at least one.
struct Loops {
  std::array<Axis, kMaxRank> axis;
  int count = 0;

  void push(const Axis& a) { axis[count++] = a; }
  Axis take(int i) {
    const Axis taken = axis[i];
    for (--count; i < count; ++i) axis[i] = axis[i + 1];
    return taken;
  }
};

/// Loops over all elements of two views of one shape: sorted by the stride of y, largest first, and merged where both
/// sides allow it.
inline Loops simplest_loops(const View& x, const View& y) {
  std::array<Axis, kMaxRank> sorted;
  int count = 0;
  for (int i = 0; i < y.shape.rank; ++i) {
    const Axis axis{y.size(i), x.stride[i], y.stride[i]};
    if (axis.size != 1) sorted[count++] = axis;
  }
  std::stable_sort(sorted.begin(), sorted.begin() + count,
                   [](const Axis& a, const Axis& b) { return std::abs(a.y) > std::abs(b.y); });
  Loops loops;
  for (int i = 0; i < count; ++i) {
    const Axis& inner = sorted[i];
    if (loops.count > 0) {
      Axis& outer = loops.axis[loops.count - 1];
      if (outer.x == inner.x * inner.size && outer.y == inner.y * inner.size) {
        outer = {outer.size * inner.size, inner.x, inner.y};
        continue;
      }
    }
    loops.push(inner);
  }
  if (loops.count == 0) loops.push({});
  return loops;
}

}  // namespace mara::kernels
