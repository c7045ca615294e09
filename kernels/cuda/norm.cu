// LayerNorm and RMSNorm, which is LayerNorm without the mean and the bias. Bound by memory: forward reads x (and the
// branch) and writes y (and the sum) once, backward reads dy and x (and dx) and writes dx once.
//
// Forward: a warp works on a row of up to 1024 elements, a block on longer ones, with the row in registers
// (row_plan.cuh). The variance is the mean of centred squares, from the registers.
//
// Backward: the sums over a row that dx needs and the sums over rows that make dgain and dbias come from one reading.
// A block takes a range of rows, a few at a time; its threads share out the columns, so that each keeps its columns'
// dgain and dbias in registers to the end of the range. Where half a warp or a warp holds a row, as many rows as the
// block has of those are worked on side by side, and their sums meet at the end. These partial sums, one row for each
// of at most kBlocks blocks, are added up by a second launch, for dgain and dbias together.

#include "kernels/cuda/row_plan.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

// `gain` may be null. Without a branch, Branch is void. `sum` is read again where rows are too long for registers.
template <bool kCentred, class Plan, class X, class Branch, class Y>
__global__ void __launch_bounds__(kRowThreads)
    norm_forward_kernel(const X* __restrict__ from, const Branch* __restrict__ branch, const float* __restrict__ gain,
                        const float* __restrict__ bias, X* sum, Y* __restrict__ to, float* __restrict__ means,
                        float* __restrict__ rstds, int64_t n, int d, float eps) {
  constexpr int V = Plan::kVector;
  __shared__ float shared[kRowThreads / 32];
  const int64_t row = row_index<Plan>();
  if (row >= n) return;
  Row<Plan, X> x(from + row * d, d);
  if constexpr (!std::is_void_v<Branch>) x.add(branch + row * d, sum + row * d, d);
  float mean = 0;
  if constexpr (kCentred) {
    mean = row_sum<Plan>(d, shared,
                         [&](int chunk, int i) {
                           float v[V], part = 0;
                           x.get(chunk, i, v);
#pragma unroll
                           for (int j = 0; j < V; ++j) part += v[j];
                           return part;
                         }) /
           static_cast<float>(d);
  }
  const float squares = row_sum<Plan>(d, shared, [&](int chunk, int i) {
    float v[V], part = 0;
    x.get(chunk, i, v);
#pragma unroll
    for (int j = 0; j < V; ++j) part += (v[j] - mean) * (v[j] - mean);
    return part;
  });
  const float rstd = rsqrtf(squares / static_cast<float>(d) + eps);
  if (first_of_row<Plan>()) {
    if constexpr (kCentred) means[row] = mean;
    rstds[row] = rstd;
  }
  for_each_pack<Plan>(d, [&](int chunk, int i) {
    float v[V], factor[V];
    x.get(chunk, i, v);
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = (v[j] - mean) * rstd;
    if (gain != nullptr) {
      load(gain + i, factor);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] *= factor[j];
    }
    if constexpr (kCentred) {
      load(bias + i, factor);
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] += factor[j];
    }
    store(to + row * d + i, v);
  });
}

// gain may be null; so may what is not wanted of dx and the (blocks, D) partial sums.
struct Backward {
  const void *dy, *x;
  const float *gain, *mean, *rstd;
  void* dx;
  float *dgain, *dbias;
  int64_t n, rows_per_block;
  int d;
  bool accumulate_x;
};

constexpr int kBlocks = 512;    // four for each multiprocessor of an H100 or H200
constexpr int kRowsHeld = 4;    // by a thread, if it has one pack of a row
constexpr int kWholeBlock = 0;  // lanes of a row: all of the block

// Blocks of a multiprocessor that registers must be left for.
constexpr int resident_blocks(int lanes, int chunks) { return chunks > 2 ? 1 : lanes == kWholeBlock ? 3 : 2; }

// Sums of every element of `values` over the `Lanes` of a row, known to all of them. `shared` holds kRowThreads / 32
// times Count floats, and must not be used again before another barrier.
template <int Lanes, int Count>
__device__ __forceinline__ void sum_over_row(float (&values)[Count], float (*shared)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) {
#pragma unroll
    for (int lane = (Lanes == kWholeBlock ? 32 : Lanes) / 2; lane > 0; lane /= 2) {
      values[i] += __shfl_xor_sync(0xffffffffu, values[i], lane);
    }
  }
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (Lanes != kWholeBlock || warps == 1) return;
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int i = 0; i < Count; ++i) shared[threadIdx.x / 32][i] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Count; ++i) values[i] = shared[0][i];
  for (int warp = 1; warp < warps; ++warp) {
#pragma unroll
    for (int i = 0; i < Count; ++i) values[i] += shared[warp][i];
  }
}

// values of the block's first threads += those of the other groups, in order.
template <int Groups, int V>
__device__ __forceinline__ void add_groups(float (&values)[V]) {
  __shared__ float shared[V][kRowThreads];
  constexpr int kLanes = kRowThreads / Groups;
  const int thread = static_cast<int>(threadIdx.x);
  __syncthreads();  // the last use of `shared`
#pragma unroll
  for (int j = 0; j < V; ++j) shared[j][thread] = values[j];
  __syncthreads();
  if (thread >= kLanes) return;
#pragma unroll
  for (int j = 0; j < V; ++j) {
#pragma unroll
    for (int group = 1; group < Groups; ++group) values[j] += shared[j][thread + group * kLanes];
  }
}

// With n = (x - mean) rstd and g = dy gain: dx = rstd (g - mean(g) - n mean(g n)), dgain = sum of dy n, dbias = sum of
// dy over rows. `Lanes` threads share a row; each holds `Chunks` packs of V columns of `Rows` rows at a time.
template <bool kCentred, int Lanes, int Chunks, int Rows, int V, class X, class Y>
__global__ void __launch_bounds__(kRowThreads, resident_blocks(Lanes, Chunks))
    norm_backward_kernel(const Backward args) {
  __shared__ float shared[2][kRowThreads / 32][2 * Rows];  // one half is written while the other may still be read
  constexpr int kGroups = Lanes == kWholeBlock ? 1 : kRowThreads / Lanes;  // rows side by side
  const int thread = static_cast<int>(threadIdx.x), group = kGroups == 1 ? 0 : thread / Lanes;
  const int lanes = Lanes == kWholeBlock ? static_cast<int>(blockDim.x) : Lanes;
  const int d = args.d, first = (thread - group * lanes) * V, step = lanes * V;
  const int64_t begin = blockIdx.x * args.rows_per_block, end = min(args.n, begin + args.rows_per_block);
  float gain[Chunks][V], dgain[Chunks][V], dbias[Chunks][V];
#pragma unroll
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    const int i = first + chunk * step;
#pragma unroll
    for (int j = 0; j < V; ++j) gain[chunk][j] = 1, dgain[chunk][j] = dbias[chunk][j] = 0;
    if (args.gain != nullptr && i < d) load(args.gain + i, gain[chunk]);
  }
  int half = 0;
  for (int64_t row = begin + group; row - group < end; row += Rows * kGroups, half ^= 1) {
    const auto inside = [&](int r, int chunk) { return row + r * kGroups < end && first + chunk * step < d; };
    float n[Rows][Chunks][V], dy[Rows][Chunks][V], rstd[Rows], mean[Rows];
    // All loads before the first use, hence without branches: what lies beyond the last row or column reads the last.
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const int64_t at = min(row + r * kGroups, end - 1);
      rstd[r] = args.rstd[at];
      mean[r] = kCentred ? args.mean[at] : 0;
#pragma unroll
      for (int chunk = 0; chunk < Chunks; ++chunk) {
        const int i = min(first + chunk * step, d - V);
        load(static_cast<const X*>(args.x) + at * d + i, n[r][chunk]);
        load(static_cast<const Y*>(args.dy) + at * d + i, dy[r][chunk]);
      }
    }
    float sums[2 * Rows];  // of g n, and of g
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      float sum_gn = 0, sum_g = 0;
#pragma unroll
      for (int chunk = 0; chunk < Chunks; ++chunk) {
        const bool valid = inside(r, chunk);
#pragma unroll
        for (int j = 0; j < V; ++j) {
          float &value = n[r][chunk][j], &up = dy[r][chunk][j];
          value = valid ? (value - mean[r]) * rstd[r] : 0;
          up = valid ? up : 0;
          dgain[chunk][j] += up * value;
          dbias[chunk][j] += up;
          const float g = up * gain[chunk][j];
          sum_gn += g * value;
          sum_g += g;
        }
      }
      sums[r] = sum_gn;
      sums[Rows + r] = kCentred ? sum_g : 0;
    }
    if (args.dx == nullptr) continue;
    sum_over_row<Lanes>(sums, shared[half]);
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float mean_gn = sums[r] / static_cast<float>(d), mean_g = sums[Rows + r] / static_cast<float>(d);
#pragma unroll
      for (int chunk = 0; chunk < Chunks; ++chunk) {
        if (!inside(r, chunk)) continue;
        X* const to = static_cast<X*>(args.dx) + (row + r * kGroups) * d + first + chunk * step;
        float dx[V] = {};
        if (args.accumulate_x) load(to, dx);
#pragma unroll
        for (int j = 0; j < V; ++j) {
          dx[j] += rstd[r] * (dy[r][chunk][j] * gain[chunk][j] - mean_g - n[r][chunk][j] * mean_gn);
        }
        store(to, dx);
      }
    }
  }
  if constexpr (kGroups > 1) {
    add_groups<kGroups>(dgain[0]);
    add_groups<kGroups>(dbias[0]);
    if (group > 0) return;
  }
#pragma unroll
  for (int chunk = 0; chunk < Chunks; ++chunk) {
    const int i = first + chunk * step;
    if (i >= d) continue;
    const int64_t at = int64_t{blockIdx.x} * d + i;
    if (args.dgain != nullptr) store(args.dgain + at, dgain[chunk]);
    if (args.dbias != nullptr) store(args.dbias + at, dbias[chunk]);
  }
}

// The same for rows too long for registers: dgain and dbias grow in memory, each element in the hands of one thread.
template <bool kCentred, class X, class Y>
__global__ void __launch_bounds__(kRowThreads, 4) norm_backward_long_kernel(const Backward args) {
  __shared__ float shared[2][kRowThreads / 32][2];
  const int d = args.d;
  const int64_t begin = blockIdx.x * args.rows_per_block, end = min(args.n, begin + args.rows_per_block);
  float* const dgain = args.dgain == nullptr ? nullptr : args.dgain + int64_t{blockIdx.x} * d;
  float* const dbias = args.dbias == nullptr ? nullptr : args.dbias + int64_t{blockIdx.x} * d;
  int half = 0;
  for (int64_t row = begin; row < end; ++row, half ^= 1) {
    const X* x = static_cast<const X*>(args.x) + row * d;
    const Y* dy = static_cast<const Y*>(args.dy) + row * d;
    const float mean = kCentred ? args.mean[row] : 0, rstd = args.rstd[row];
    float sums[2] = {};
    for (int i = static_cast<int>(threadIdx.x); i < d; i += kRowThreads) {
      const float up = widen(dy[i]), n = (widen(x[i]) - mean) * rstd;
      const float g = args.gain == nullptr ? up : up * args.gain[i];
      sums[0] += g * n;
      if constexpr (kCentred) sums[1] += g;
      if (dgain != nullptr) dgain[i] = row == begin ? up * n : dgain[i] + up * n;
      if (dbias != nullptr) dbias[i] = row == begin ? up : dbias[i] + up;
    }
    if (args.dx == nullptr) continue;
    sum_over_row<kWholeBlock>(sums, shared[half]);
    const float mean_gn = sums[0] / static_cast<float>(d), mean_g = sums[1] / static_cast<float>(d);
    X* dx = static_cast<X*>(args.dx) + row * d;
    for (int i = static_cast<int>(threadIdx.x); i < d; i += kRowThreads) {
      const float up = widen(dy[i]), n = (widen(x[i]) - mean) * rstd;
      const float g = args.gain == nullptr ? up : up * args.gain[i];
      const float value = rstd * (g - mean_g - n * mean_gn);
      dx[i] = narrow_to<X>(args.accumulate_x ? widen(dx[i]) + value : value);
    }
  }
}

// How blocks share out rows of D elements.
struct Split {
  bool packed;  // in packs of kPack, else in single elements
  int packs, lanes;

  explicit Split(const LayerNormBackward& args)
      : packed(args.x.size(1) % kPack == 0 && takes_packs(args.dy) && takes_packs(args.x) && takes_packs(args.dx) &&
               takes_packs(args.gain)),
        packs(static_cast<int>(args.x.size(1)) / (packed ? kPack : 1)),
        lanes(packs > 32   ? kWholeBlock
              : packs > 16 ? 32
                           : 16) {}

  static constexpr int kPack = 4;
  static bool takes_packs(const View& x) { return !x || aligned(kPack * static_cast<int>(size_of(x.dtype)), x.data); }
  /// Least number of rows that keeps a block busy.
  int64_t rows() const { return kRowsHeld * (lanes == kWholeBlock ? 1 : kRowThreads / lanes); }
};

template <bool kCentred, class X, class Y>
void launch_backward(const Stream& stream, const Split& split, const Backward& args, int blocks) {
  const auto launch = [&]<int V>() {
    constexpr int kChunks = 8;
    const auto run = [&](auto kernel, int threads) { kernel<<<blocks, threads, 0, native(stream)>>>(args); };
    if (split.lanes == 16) {
      run(norm_backward_kernel<kCentred, 16, 1, kRowsHeld, V, X, Y>, kRowThreads);
    } else if (split.lanes == 32) {
      run(norm_backward_kernel<kCentred, 32, 1, kRowsHeld, V, X, Y>, kRowThreads);
    } else if (split.packs <= kRowThreads) {
      run(norm_backward_kernel<kCentred, kWholeBlock, 1, kRowsHeld, V, X, Y>, ceil_div(split.packs, 32) * 32);
    } else if (split.packs <= 2 * kRowThreads) {
      run(norm_backward_kernel<kCentred, kWholeBlock, 2, 2, V, X, Y>, kRowThreads);
    } else if (split.packs <= kChunks * kRowThreads) {
      run(norm_backward_kernel<kCentred, kWholeBlock, kChunks, 1, V, X, Y>, kRowThreads);
    } else {
      run(norm_backward_long_kernel<kCentred, X, Y>, kRowThreads);
    }
  };
  split.packed ? launch.template operator()<Split::kPack>() : launch.template operator()<1>();
}

// Where the total of partial sums goes; null if it is not wanted.
struct Total {
  float* y;
  bool accumulate;
};

constexpr int kTotalWarps = 32;

// The sum over the blocks of the (2, blocks, D) partial sums. A block takes 32 columns of dgain or dbias (y of the
// grid): its warps read a row each at a time, all before the first is needed, and meet in shared memory.
__global__ void __launch_bounds__(32 * kTotalWarps)
    norm_backward_total_kernel(const float* partial, int blocks, int d, Total dgain, Total dbias) {
  __shared__ float shared[kTotalWarps][32];
  const Total total = blockIdx.y == 0 ? dgain : dbias;
  if (total.y == nullptr) return;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t column = int64_t{blockIdx.x} * 32 + lane;
  const float* from = partial + int64_t{blockIdx.y} * blocks * d + column;
  float values[kBlocks / kTotalWarps];
#pragma unroll
  for (int i = 0; i < kBlocks / kTotalWarps; ++i) {
    const int block = warp + i * kTotalWarps;
    values[i] = block < blocks && column < d ? from[int64_t{block} * d] : 0;
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kBlocks / kTotalWarps; ++i) sum += values[i];
  shared[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= d) return;
#pragma unroll
  for (int i = 1; i < kTotalWarps; ++i) sum += shared[i][lane];
  total.y[column] = total.accumulate ? total.y[column] + sum : sum;
}

template <class F>
void dispatch_pair(Dtype x, Dtype y, F&& f) {
  dispatch(x, [&]<class X>() { dispatch(y, [&]<class Y>() { f.template operator()<X, Y>(); }); });
}

float* optional(const View& view) { return view ? view.ptr<float>() : nullptr; }

template <bool kCentred>
void forward(const Stream& stream, const LayerNormForward& args, const char* name) {
  const int64_t n = args.x.size(0), d = args.x.size(1);
  if (n * d == 0) return;
  const float *gain = optional(args.gain), *bias = optional(args.bias);
  dispatch_pair(args.x.dtype, args.y.dtype, [&]<class X, class Y>() {
    const auto with_branch = [&]<class Branch>() {
      const auto launch = [&]<class Plan>() {
        norm_forward_kernel<kCentred, Plan><<<row_blocks<Plan>(n), kRowThreads, 0, native(stream)>>>(
            args.x.ptr<X>(), args.branch.ptr<Branch>(), gain, bias, args.sum.ptr<X>(), args.y.ptr<Y>(),
            optional(args.mean), optional(args.rstd), n, static_cast<int>(d), static_cast<float>(args.eps));
      };
      dispatch_rows<X, Y>(d, launch, args.x.data, args.branch.data, gain, bias, args.sum.data, args.y.data);
    };
    args.branch ? dispatch(args.branch.dtype, with_branch) : with_branch.template operator()<void>();
  });
  launched(name);
}

template <bool kCentred>
void backward(Stream& stream, const LayerNormBackward& args, const char* name) {
  const int64_t n = args.x.size(0), d = args.x.size(1);
  if (d == 0) return;
  const Split split(args);
  const int64_t rows_per_block = std::max<int64_t>(1, ceil_div(ceil_div(n, kBlocks), split.rows())) * split.rows();
  const int64_t blocks = ceil_div(n, rows_per_block);
  const auto partial = stream.scratch<float>(args.dgain || args.dbias ? 2 * blocks * d : 0);
  if (n > 0) {
    const Backward backward{.dy = args.dy.data,
                            .x = args.x.data,
                            .gain = optional(args.gain),
                            .mean = optional(args.mean),
                            .rstd = optional(args.rstd),
                            .dx = args.dx ? args.dx.data : nullptr,
                            .dgain = args.dgain ? partial.get() : nullptr,
                            .dbias = args.dbias ? partial.get() + blocks * d : nullptr,
                            .n = n,
                            .rows_per_block = rows_per_block,
                            .d = static_cast<int>(d),
                            .accumulate_x = args.accumulate_x};
    dispatch_pair(args.x.dtype, args.dy.dtype, [&]<class X, class Y>() {
      launch_backward<kCentred, X, Y>(stream, split, backward, static_cast<int>(blocks));
    });
    launched(name);
  }
  if (!args.dgain && !args.dbias) return;
  norm_backward_total_kernel<<<dim3(exact_grid(ceil_div(d, 32)), 2), 32 * kTotalWarps, 0, native(stream)>>>(
      partial, static_cast<int>(blocks), static_cast<int>(d), {optional(args.dgain), args.accumulate_gain},
      {optional(args.dbias), args.accumulate_bias});
  launched(name);
}

}  // namespace

void layer_norm_forward(Stream& stream, const LayerNormForward& args) {
  forward<true>(stream, args, "layer_norm_forward");
}

void layer_norm_backward(Stream& stream, const LayerNormBackward& args) {
  backward<true>(stream, args, "layer_norm_backward");
}

void rms_norm_forward(Stream& stream, const RmsNormForward& args) {
  forward<false>(stream,
                 {.x = args.x,
                  .gain = args.gain,
                  .y = args.y,
                  .rstd = args.rstd,
                  .eps = args.eps,
                  .branch = args.branch,
                  .sum = args.sum},
                 "rms_norm_forward");
}

void rms_norm_backward(Stream& stream, const RmsNormBackward& args) {
  backward<false>(stream,
                  {.dy = args.dy,
                   .x = args.x,
                   .gain = args.gain,
                   .rstd = args.rstd,
                   .dx = args.dx,
                   .dgain = args.dgain,
                   .accumulate_gain = args.accumulate_gain,
                   .accumulate_x = args.accumulate_x},
                  "rms_norm_backward");
}

}  // namespace mara::kernels::cuda
