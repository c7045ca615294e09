// Copy between any two strided layouts, bound by memory. In the fewest loops (common/loops.h) it is one of two cases:
// rows along the axis on which y is contiguous, passed over in 16-byte items where x is contiguous there too
// (for_each.cuh); or, if x is contiguous along another axis, a transpose of those two axes in square tiles through
// shared memory, a block each, both sides in 16-byte accesses.

#include "kernels/common/loops.h"
#include "kernels/cuda/for_each.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

// Offsets into x and y of a position in nested loops.
class Position {
 public:
  explicit Position(const Loops& loops) : count_(loops.count) {
    for (int i = 0; i < count_; ++i) {
      size_[i] = Divisor(loops.axis[i].size);
      x_[i] = loops.axis[i].x;
      y_[i] = loops.axis[i].y;
      numel_ *= loops.axis[i].size;
    }
  }
  int64_t numel() const { return numel_; }

  struct Offsets {
    int64_t x = 0, y = 0;
  };
  __device__ Offsets operator()(int64_t position) const {
    Offsets at;
#pragma unroll
    for (int i = kMaxRank - 1; i >= 0; --i) {
      if (i >= count_) continue;
      int64_t index = position;
      if (i > 0) {
        const Divisor::Split split = size_[i](position);
        index = split.remainder;
        position = split.quotient;
      }
      at.x += index * x_[i];
      at.y += index * y_[i];
    }
    return at;
  }

 private:
  int count_;
  int64_t numel_ = 1;
  Divisor size_[kMaxRank];
  int64_t x_[kMaxRank] = {}, y_[kMaxRank] = {};
};

// N elements of a row an item; contiguous on both sides if N > 1. Integers are only accumulated, one at a time.
template <class X, class Y, int N>
struct RowCopy {
  const X* x;
  Y* y;
  Position position;
  bool accumulate;

  struct Values {
    Loaded<X, N> x;
    Loaded<Y, N> old;
    Y* to;
  };
  __device__ Values read(int64_t item) const {
    const Position::Offsets at = position(item);
    Values values;
    values.x = read_some<N>(x + at.x, N, N > 1);
    values.to = y + at.y;
    if (accumulate) values.old = read_some<N>(values.to, N, N > 1);
    return values;
  }
  __device__ void write(int64_t, const Values& values) const {
    if constexpr (std::is_same_v<X, int32_t>) {
      *values.to = static_cast<int32_t>(values.old.word[0] + values.x.word[0]);
    } else {
      float out[N];
#pragma unroll
      for (int j = 0; j < N; ++j) out[j] = accumulate ? values.old[j] + values.x[j] : values.x[j];
      store(values.to, out);
    }
  }
};

template <class X, class Y, int N>
void copy_rows(Stream& stream, const Copy& args, Loops loops) {
  Axis& row = loops.axis[loops.count - 1];
  row = {row.size / N, row.x * N, row.y * N};
  const Position position(loops);
  for_each(stream, "copy", position.numel(),
           RowCopy<X, Y, N>{args.x.ptr<X>(), args.y.ptr<Y>(), position, args.accumulate});
}

constexpr int kTile = 64;

// x is contiguous along `down`, y along `across`; sizes are multiples of N.
template <class X, class Y>
struct Transpose {
  const X* x;
  Y* y;
  Position outer;
  Axis down, across;
  Divisor down_tiles, across_tiles;
  bool accumulate;
};

template <class X, class Y, int N>
__global__ void __launch_bounds__(256) transpose_tiles(const __grid_constant__ Transpose<X, Y> op) {
  constexpr int kLanes = kTile / N;    // threads along the contiguous axis
  constexpr int kRows = 256 / kLanes;  // and along the other
  constexpr int kPasses = kTile / kRows;
  __shared__ float tile[kTile][kTile + 1];  // [across][down]

  const Divisor::Split across = op.across_tiles(blockIdx.x);
  const Divisor::Split down = op.down_tiles(across.quotient);
  const Position::Offsets at = op.outer(down.quotient);
  const int64_t first_across = across.remainder * kTile, first_down = down.remainder * kTile;
  const X* x = op.x + at.x + first_across * op.across.x + first_down;
  Y* y = op.y + at.y + first_down * op.down.y + first_across;
  const int width = static_cast<int>(min(int64_t{kTile}, op.across.size - first_across));
  const int height = static_cast<int>(min(int64_t{kTile}, op.down.size - first_down));
  const int lane = threadIdx.x % kLanes * N, row = threadIdx.x / kLanes;

  Pack<X, N> from[kPasses];
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int j = row + pass * kRows;
    if (j < width && lane < height) from[pass] = *reinterpret_cast<const Pack<X, N>*>(x + j * op.across.x + lane);
  }
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int j = row + pass * kRows;
    if (j >= width || lane >= height) continue;
#pragma unroll
    for (int k = 0; k < N; ++k) tile[j][lane + k] = widen(from[pass].v[k]);
  }
  __syncthreads();
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int i = row + pass * kRows;
    if (i >= height || lane >= width) continue;
    Y* to = y + i * op.down.y + lane;
    float old[N] = {}, out[N];
    if (op.accumulate) load(to, old);
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] = op.accumulate ? old[k] + tile[lane + k][i] : tile[lane + k][i];
    store(to, out);
  }
}

template <class X, class Y, int N>
void transpose(Stream& stream, const Copy& args, const Loops& outer, const Axis& down, const Axis& across) {
  const int64_t down_tiles = ceil_div(down.size, kTile), across_tiles = ceil_div(across.size, kTile);
  const Position position(outer);
  const Transpose<X, Y> op{args.x.ptr<X>(),     args.y.ptr<Y>(),       position,       down, across,
                           Divisor(down_tiles), Divisor(across_tiles), args.accumulate};
  const int64_t blocks = position.numel() * down_tiles * across_tiles;
  transpose_tiles<X, Y, N><<<exact_grid(blocks), 256, 0, native(stream)>>>(op);
  launched("copy");
}

template <class X, class Y>
void copy_as(Stream& stream, const Copy& args) {
  constexpr int N = kItem<X, Y>;
  // Narrower than this, a transpose leaves most of a tile unused; single elements come from the cache then.
  constexpr int64_t kNarrow = 16;
  Loops loops = simplest_loops(args.x, args.y);
  bool vector = aligned(16, args.x.data, args.y.data);
  const auto allow = [&](int64_t elements) { vector = vector && elements % N == 0; };

  const Axis row = loops.axis[loops.count - 1];
  for (int i = 0; i + 1 < loops.count; ++i) {
    const Axis down = loops.axis[i];
    if (down.x != 1 || row.x == 1 || row.y != 1 || std::min(down.size, row.size) < kNarrow) continue;
    loops.take(loops.count - 1);
    loops.take(i);
    allow(row.size), allow(row.x), allow(down.size), allow(down.y);
    for (int j = 0; j < loops.count; ++j) allow(loops.axis[j].x), allow(loops.axis[j].y);
    return vector ? transpose<X, Y, N>(stream, args, loops, down, row)
                  : transpose<X, Y, 1>(stream, args, loops, down, row);
  }
  allow(row.size);
  for (int i = 0; i + 1 < loops.count; ++i) allow(loops.axis[i].x), allow(loops.axis[i].y);
  vector&& row.x == 1 && row.y == 1 ? copy_rows<X, Y, N>(stream, args, loops) : copy_rows<X, Y, 1>(stream, args, loops);
}

}  // namespace

void copy(Stream& stream, const Copy& args) {
  if (args.y.numel() == 0) return;
  if (args.y.dtype == Dtype::i32) {
    // Without arithmetic a 32-bit integer moves like a float.
    return args.accumulate ? copy_rows<int32_t, int32_t, 1>(stream, args, simplest_loops(args.x, args.y))
                           : copy_as<float, float>(stream, args);
  }
  dispatch(args.x.dtype, [&]<class X>() { dispatch(args.y.dtype, [&]<class Y>() { copy_as<X, Y>(stream, args); }); });
}

}  // namespace mara::kernels::cuda
