// Copy between any two strided layouts. Axes are first sorted by the stride of y and merged where both sides allow
// it, which leaves one of two cases: rows along the axis on which y is contiguous, or, if x is contiguous along
// another axis, a transpose of those two axes in square tiles held in registers (plain loops would use a cache line
// of x for one element and, at power-of-two strides, lose it before the next).

#include <array>
#include <cstdlib>
#include <utility>

#include "kernels/cpu/rows.h"
#include "kernels/cpu/vector.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

struct Axis {
  int64_t size = 1, x = 1, y = 1;  // strides
};

// Nested loops, the outermost first; at least one.
struct Loops {
  std::array<Axis, kMaxRank> axis;
  int count = 0;

  void push(const Axis& a) { axis[count++] = a; }
  Axis take(int i) {
    const Axis taken = axis[i];
    for (--count; i < count; ++i) axis[i] = axis[i + 1];
    return taken;
  }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < count; ++i) n *= axis[i].size;
    return n;
  }
  // Offsets into x and y of a position in the loops.
  std::pair<int64_t, int64_t> offsets(int64_t position) const {
    int64_t x = 0, y = 0;
    for (int i = count - 1; i >= 0; --i) {
      const int64_t index = i == 0 ? position : position % axis[i].size;
      position /= axis[i].size;
      x += index * axis[i].x;
      y += index * axis[i].y;
    }
    return {x, y};
  }
};

Loops simplest_loops(const Copy& args) {
  std::array<Axis, kMaxRank> sorted;
  int count = 0;
  for (int i = 0; i < args.y.shape.rank; ++i) {
    const Axis axis{args.y.size(i), args.x.stride[i], args.y.stride[i]};
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

template <class X, class Y>
void copy_rows(const Copy& args, Loops outer, const Axis& row) {
  const int64_t piece = std::min(row.size, kGrain), pieces = (row.size + piece - 1) / piece;
  outer.push({pieces, piece * row.x, piece * row.y});
  parallel_chunks(outer.numel(), grain_for(piece), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [x_offset, y_offset] = outer.offsets(i);
      const int64_t count = std::min(piece, row.size - i % pieces * piece);
      const X* x = args.x.ptr<X>() + x_offset;
      Y* y = args.y.ptr<Y>() + y_offset;
      if (row.x == 1 && row.y == 1) {
        copy_row(x, y, count, args.accumulate);
        continue;
      }
      using C = Common<X, Y>;
      for (int64_t j = 0; j < count; ++j) {
        const auto value = static_cast<C>(x[j * row.x]);
        Y& to = y[j * row.y];
        put(to, args.accumulate ? static_cast<C>(to) + value : value);
      }
    }
  });
}

// x is contiguous along `down`, y along `across`.
template <class X, class Y>
void transpose_tiles(const Copy& args, Loops outer, const Axis& down, const Axis& across) {
  using C = Compute<X>;
  constexpr int kTile = kLanes<C>;
  outer.push({(down.size + kTile - 1) / kTile, kTile, kTile * down.y});
  const int64_t bands = outer.axis[outer.count - 1].size;
  parallel_chunks(outer.numel(), grain_for(kTile * across.size), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [x_offset, y_offset] = outer.offsets(i);
      const X* x = args.x.ptr<X>() + x_offset;
      Y* y = args.y.ptr<Y>() + y_offset;
      const int64_t height = std::min<int64_t>(kTile, down.size - i % bands * kTile);
      for (int64_t j = 0; j < across.size; j += kTile) {
        const int64_t width = std::min<int64_t>(kTile, across.size - j);
        Vec<C> tile[kTile] = {};
        for (int64_t k = 0; k < width; ++k) {
          tile[k] = load(x + (j + k) * across.x, height);
          __builtin_prefetch(x + (j + k + kTile) * across.x);  // far apart: the hardware does not
        }
        transpose<C>(tile);
        for (int64_t k = 0; k < height; ++k) {
          Y* to = y + k * down.y + j;
          store(to, args.accumulate ? tile[k] + load(to, width) : tile[k], width);
        }
      }
    }
  });
}

template <class X, class Y>
void copy_as(const Copy& args) {
  Loops loops = simplest_loops(args);
  const Axis row = loops.take(loops.count - 1);
  if constexpr (std::is_same_v<Compute<X>, Compute<Y>> && is_float(dtype_of<X>)) {
    for (int i = 0; i < loops.count; ++i) {
      if (loops.axis[i].x == 1 && row.x != 1 && row.y == 1) {
        const Axis down = loops.take(i);
        return transpose_tiles<X, Y>(args, loops, down, row);
      }
    }
  }
  copy_rows<X, Y>(args, loops, row);
}

}  // namespace

void copy(Stream&, const Copy& args) {
  if (args.y.numel() == 0) return;
  if (args.y.dtype == Dtype::i32) {
    // Without arithmetic a 32-bit integer moves like a float.
    return args.accumulate ? copy_as<int32_t, int32_t>(args) : copy_as<float, float>(args);
  }
  dispatch_float(args.x.dtype,
                 [&]<class X>() { dispatch_float(args.y.dtype, [&]<class Y>() { copy_as<X, Y>(args); }); });
}

}  // namespace mara::kernels::cpu
