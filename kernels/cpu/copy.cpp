// Copy between any two strided layouts. In the fewest loops (common/loops.h) it is one of two cases: rows along
// the axis on which y is contiguous, or, if x is contiguous along another axis, a transpose of those two axes in square
// tiles held in registers (plain loops would use a cache line of x for one element and, at power-of-two strides, lose
// it before the next).

#include <utility>

#include "kernels/common/loops.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vector.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

int64_t numel(const Loops& loops) {
  int64_t n = 1;
  for (int i = 0; i < loops.count; ++i) n *= loops.axis[i].size;
  return n;
}

// Offsets into x and y of a position in the loops.
std::pair<int64_t, int64_t> offsets(const Loops& loops, int64_t position) {
  int64_t x = 0, y = 0;
  for (int i = loops.count - 1; i >= 0; --i) {
    const Axis& axis = loops.axis[i];
    const int64_t index = i == 0 ? position : position % axis.size;
    position /= axis.size;
    x += index * axis.x;
    y += index * axis.y;
  }
  return {x, y};
}

template <class X, class Y>
void copy_rows(const Copy& args, Loops outer, const Axis& row) {
  const int64_t piece = std::min(row.size, kGrain), pieces = (row.size + piece - 1) / piece;
  outer.push({pieces, piece * row.x, piece * row.y});
  parallel_chunks(numel(outer), grain_for(piece), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [x_offset, y_offset] = offsets(outer, i);
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
  parallel_chunks(numel(outer), grain_for(kTile * across.size), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [x_offset, y_offset] = offsets(outer, i);
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
  Loops loops = simplest_loops(args.x, args.y);
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
