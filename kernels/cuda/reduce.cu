// Sums over the middle axis of (outer, n, inner): bound by memory, x is read once.
//
// inner = 1: a warp adds up a short row, a block a long one. inner > 1: a block takes a band of up to 32 packs of
// neighbouring columns, or those of several small matrices; its threads share out rows and packs, so that a
// warp reads consecutive memory whatever the width, and the rows' sums meet in shared memory. Where the outputs alone
// would not fill the GPU, n is cut into slices, whose f32 sums are added up by a second launch. Cuts and order depend
// on the shape alone.

#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 512;       // aimed at by slices: four for each multiprocessor of an H100 or H200
constexpr int kBand = 32;          // packs of columns
constexpr int kShortRow = 1024;    // elements that a warp adds up alone
constexpr int kRowsPerSlice = 16;  // least number of rows that a thread adds up, or of packs in a row
constexpr int kRowsUncut = 64;     // up to here a second launch would cost more than it saves

template <class Y>
__device__ __forceinline__ void put(Y& y, float sum, bool accumulate) {
  y = narrow_to<Y>(accumulate ? widen(y) + sum : sum);
}

// How n is cut: `slices` pieces of `length`, the last one shorter.
struct Cut {
  int slices = 1;
  int64_t length = 0;

  // Where `blocks` work on every slice, `step` rows at a time.
  static Cut of(int64_t n, int64_t blocks, int64_t step) {
    if (n <= kRowsUncut * step) return {1, n};
    const int64_t slices = std::clamp<int64_t>(kBlocks / blocks, 1, n / (kRowsPerSlice * step));
    const int64_t length = ceil_div(ceil_div(n, slices), step) * step;
    return {static_cast<int>(ceil_div(n, length)), length};
  }
};

// sums += the packs at from + i * stride, for i from `begin` below `end` in steps of `step`; several loads at a time.
template <int V, class X>
__device__ __forceinline__ void add_packs(const X* from, int begin, int end, int step, int stride, float (&sums)[V]) {
  constexpr int kLoads = 32 / V < 8 ? 4 : 8;
  const auto add = [&](const float(&values)[V]) {
#pragma unroll
    for (int j = 0; j < V; ++j) sums[j] += values[j];
  };
  int i = begin;
  for (; i + (kLoads - 1) * step < end; i += kLoads * step) {
    float values[kLoads][V];
#pragma unroll
    for (int u = 0; u < kLoads; ++u) load(from + int64_t{i + u * step} * stride, values[u]);
#pragma unroll
    for (int u = 0; u < kLoads; ++u) add(values[u]);
  }
  for (; i < end; i += step) {
    float values[V];
    load(from + int64_t{i} * stride, values);
    add(values);
  }
}

// y[o, slice] = the sum of a slice of row o, by `Group` threads.
template <int Group, int V, class X, class Y>
__global__ void __launch_bounds__(kThreads, 4)
    sum_rows_kernel(const X* x, int64_t outer, int64_t n, const Cut cut, Y* y, bool accumulate) {
  __shared__ float shared[kThreads / 32];
  const int64_t item = int64_t{blockIdx.x} * (kThreads / Group) + threadIdx.x / Group;
  if (item >= outer * cut.slices) return;  // a whole group
  const int64_t begin = item % cut.slices * cut.length;
  const int count = static_cast<int>(min(cut.length, n - begin)), lane = static_cast<int>(threadIdx.x) % Group;
  const X* from = x + item / cut.slices * n + begin;
  float sums[V] = {};
  add_packs(from, lane * V, count - V + 1, Group * V, 1, sums);
  if (const int rest = count / V * V + lane; rest < count) sums[0] += widen(from[rest]);  // less than a pack
#pragma unroll
  for (int half = V / 2; half > 0; half /= 2) {
#pragma unroll
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  const float sum = block_sum<Group>(sums[0], shared);
  if (lane == 0) put(y[item], sum, accumulate);
}

// A matrix is summed over in bands of `width` packs of columns, each by rows * width threads.
struct Bands {
  int64_t count;
  int width, rows;

  __host__ __device__ int per_block() const { return kThreads / (rows * width); }
};

// y[o, slice, :] = the sum of a slice of the rows of matrix o, in the columns of a band. `items`: outer * slices.
template <int V, class X, class Y>
__global__ void __launch_bounds__(kThreads, 4)
    sum_columns_kernel(const X* x, int64_t items, int64_t n, int inner, const Bands bands, const Cut cut, Y* y,
                       bool accumulate) {
  __shared__ float shared[V][kThreads];
  const int width = bands.width, rows = bands.rows, per_block = bands.per_block();
  const int thread = static_cast<int>(threadIdx.x), local = thread / (rows * width);
  const int row = local < per_block ? thread / width % rows : rows;
  const int64_t place = int64_t{blockIdx.x} * per_block + local, item = place / bands.count;
  const int column = (static_cast<int>(place % bands.count) * width + thread % width) * V;
  const bool active = row < rows && item < items && column < inner;
  const int64_t begin = item % cut.slices * cut.length;
  const int count = static_cast<int>(min(cut.length, n - begin));
  float sums[V] = {};
  if (active) add_packs(x + (item / cut.slices * n + begin) * inner + column, row, count, rows, inner, sums);
#pragma unroll
  for (int j = 0; j < V; ++j) shared[j][thread] = sums[j];
  for (int left = rows; left > 1;) {
    const int half = (left + 1) / 2;
    __syncthreads();
    if (row + half < left) {
#pragma unroll
      for (int j = 0; j < V; ++j) {
        sums[j] += shared[j][thread + half * width];
        shared[j][thread] = sums[j];
      }
    }
    left = half;
  }
  if (!active || row > 0) return;
#pragma unroll
  for (int j = 0; j < V; ++j) put(y[item * inner + column + j], sums[j], accumulate);
}

// One launch, or two with the sums of slices in between. `launch(cut, y, accumulate)` adds up the slices of x.
template <class X, class Y>
void sum(Stream& stream, const X* x, int64_t outer, int64_t n, int64_t inner, Y* y, bool accumulate);

template <class Y, class Launch>
void sum_slices(Stream& stream, int64_t outer, int64_t inner, const Cut& cut, Y* y, bool accumulate,
                const Launch& launch) {
  if (cut.slices == 1) return launch(y, accumulate);
  const auto partial = stream.scratch<float>(outer * cut.slices * inner);
  launch(partial.get(), false);
  sum(stream, partial.get(), outer, cut.slices, inner, y, accumulate);
}

template <int V, class X, class Y>
void sum_rows(Stream& stream, const X* x, int64_t outer, int64_t n, Y* y, bool accumulate) {
  const bool by_warp = n <= kShortRow && outer > 1;
  const Cut cut = by_warp ? Cut{1, n} : Cut::of(n, outer, kThreads * V);
  sum_slices(stream, outer, 1, cut, y, accumulate, [&]<class Out>(Out* out, bool add) {
    const int64_t items = outer * cut.slices;
    if (by_warp) {
      const unsigned blocks = exact_grid(ceil_div(items, kThreads / 32));
      sum_rows_kernel<32, V><<<blocks, kThreads, 0, native(stream)>>>(x, outer, n, cut, out, add);
    } else {
      const unsigned blocks = exact_grid(items);
      sum_rows_kernel<kThreads, V><<<blocks, kThreads, 0, native(stream)>>>(x, outer, n, cut, out, add);
    }
  });
}

template <int V, class X, class Y>
void sum_columns(Stream& stream, const X* x, int64_t outer, int64_t n, int64_t inner, Y* y, bool accumulate) {
  const int64_t packs = inner / V, count = ceil_div(packs, kBand), width = ceil_div(packs, count);
  const int64_t rows = std::clamp<int64_t>(n, 1, kThreads / width);
  const Bands bands{count, static_cast<int>(width), static_cast<int>(rows)};
  const Cut cut = Cut::of(n, outer * count, rows);
  sum_slices(stream, outer, inner, cut, y, accumulate, [&](auto* out, bool add) {
    const int64_t items = outer * cut.slices;
    const unsigned blocks = exact_grid(ceil_div(items * count, bands.per_block()));
    sum_columns_kernel<V>
        <<<blocks, kThreads, 0, native(stream)>>>(x, items, n, static_cast<int>(inner), bands, cut, out, add);
  });
}

template <class X, class Y>
void sum(Stream& stream, const X* x, int64_t outer, int64_t n, int64_t inner, Y* y, bool accumulate) {
  constexpr int kVector = kPerAccess<X>;
  if (inner == 1) {
    const bool packed = aligned(16, x) && (n % kVector == 0 || outer == 1);
    packed ? sum_rows<kVector>(stream, x, outer, n, y, accumulate) : sum_rows<1>(stream, x, outer, n, y, accumulate);
  } else {
    const bool packed = aligned(16, x) && inner % kVector == 0;
    packed ? sum_columns<kVector>(stream, x, outer, n, inner, y, accumulate)
           : sum_columns<1>(stream, x, outer, n, inner, y, accumulate);
  }
}

}  // namespace

void reduce_sum(Stream& stream, const ReduceSum& args) {
  const int64_t outer = args.x.size(0), n = args.x.size(1), inner = args.x.size(2);
  if (outer * inner == 0) return;
  dispatch(args.x.dtype, [&]<class X>() {
    dispatch(args.y.dtype,
             [&]<class Y>() { sum(stream, args.x.ptr<X>(), outer, n, inner, args.y.ptr<Y>(), args.accumulate); });
  });
  launched("reduce_sum");
}

}  // namespace mara::kernels::cuda
