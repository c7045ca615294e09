// Softmax attention in f32 for any head size and dtype, on the ordinary units: bound by their arithmetic. It serves
// f32 data and head sizes that the tensor-core path does not take.
//
// A block owns 64 rows (queries, or keys in the kernel for dk and dv) of one head and at most 64 of its columns, and
// walks over the other rows, 64 at a time; of every 64 x 64 tile a thread holds 4 x 4 numbers. Heads wider than 64 take
// several blocks, which all compute the scores over the whole width. The order of every sum is fixed by the shape.

#include "kernels/cuda/attention.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda::attention {
namespace {

constexpr int kTile = 64, kSlice = 32;  // columns that a product over the width passes through at a time
constexpr int kPitch = kTile + 4;       // keeps float4 rows aligned and spreads them over the banks
constexpr int kBlock = 256;             // 16 x 16 threads

struct alignas(16) Shared {
  float rows[kTile][kPitch];  // two slices, or values
  float weights[kTile][kPitch];
};
static_assert(2 * kSlice == kTile && sizeof(Shared) <= 48 * 1024);

using Square = float[4][4];

/// A thread's place in a tile: rows 4 row(), ..., and columns 4 column(), ...
__device__ int own_row() { return 4 * (static_cast<int>(threadIdx.x) / 16); }
__device__ int own_column() { return 4 * (static_cast<int>(threadIdx.x) % 16); }

/// The sum, or maximum, over the 16 threads that share a row.
template <class Combine>
__device__ float across_row(float x, const Combine& combine) {
#pragma unroll
  for (int lane = 8; lane > 0; lane /= 2) x = combine(x, __shfl_xor_sync(0xffffffffu, x, lane));
  return x;
}

/// c[i][j] += sum over r of left[r][own_row + i] right[r][own_column + j].
template <int Depth>
__device__ void accumulate(Square& c, const float (*left)[kPitch], const float (*right)[kPitch]) {
#pragma unroll 4
  for (int r = 0; r < Depth; ++r) {
    float a[4], b[4];
    load(&left[r][own_row()], a);
    load(&right[r][own_column()], b);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) c[i][j] = fmaf(a[i], b[j], c[i][j]);
    }
  }
}

/// to[column - first_column][i] = x[first_row + i][column], zeros beyond the ends.
template <class T>
__device__ void load_slice(float (*to)[kPitch], const HeadRows<const T>& x, int first_row, int first_column,
                           const Sizes& sizes) {
#pragma unroll 4
  for (int i = fresh_thread_index(); i < kTile * kSlice; i += kBlock) {
    const int column = i % 8 + i / 32 % 4 * 8, row = i / 8 % 4 + i / 128 * 4;  // 8 columns x 4 rows: all 32 banks
    const bool present = first_row + row < sizes.length && first_column + column < sizes.width;
    to[column][row] = present ? widen(x[first_row + row][first_column + column]) : 0.0f;
  }
}

/// c = 64 rows of x times the transpose of 64 rows of y. Starts with a barrier and leaves shared.rows in use.
template <class T>
__device__ void products(Shared& shared, Square& c, const HeadRows<const T>& x, int x_row, const HeadRows<const T>& y,
                         int y_row, const Sizes& sizes) {
#pragma unroll
  for (int i = 0; i < 16; ++i) c[i / 4][i % 4] = 0;
  for (int column = 0; column < sizes.width; column += kSlice) {
    __syncthreads();
    load_slice(shared.rows, x, x_row, column, sizes);
    load_slice(shared.rows + kSlice, y, y_row, column, sizes);
    __syncthreads();
    accumulate<kSlice>(c, shared.rows, shared.rows + kSlice);
  }
}

/// c += weights^T y, with weights[r][own_row + i] and 64 rows r, 64 columns of y. Weights are written before, followed
/// by no barrier. They may be written again after the next barrier.
template <class T>
__device__ void add_weighted(Shared& shared, Square& c, const HeadRows<const T>& y, int first_row, int first_column,
                             const Sizes& sizes) {
  __syncthreads();
#pragma unroll 4
  for (int i = fresh_thread_index(); i < kTile * kTile; i += kBlock) {
    const int row = i / kTile, column = i % kTile;
    const bool present = first_row + row < sizes.length && first_column + column < sizes.width;
    shared.rows[row][column] = present ? widen(y[first_row + row][first_column + column]) : 0.0f;
  }
  __syncthreads();
  accumulate<kTile>(c, shared.weights, shared.rows);
}

/// weights[own_column + j][own_row + i] = c[i][j], or as it is.
__device__ void set_weights_transposed(Shared& shared, const Square& c) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float column[4] = {c[0][j], c[1][j], c[2][j], c[3][j]};
    store(&shared.weights[own_column() + j][own_row()], column);
  }
}
__device__ void set_weights(Shared& shared, const Square& c) {
#pragma unroll
  for (int i = 0; i < 4; ++i) store(&shared.weights[own_row() + i][own_column()], c[i]);
}

template <class T>
__device__ void store_square(const Square& c, const float (&factors)[4], const HeadRows<T>& to, int first_row,
                             int first_column, const Sizes& sizes) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first_row + own_row() + i;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int column = first_column + own_column() + j;
      if (row < sizes.length && column < sizes.width) to[row][column] = narrow_to<T>(c[i][j] * factors[i]);
    }
  }
}

/// What a block works on: a tile of rows of a head, from the last to the first, and a slice of columns.
struct Work {
  Head head;
  int first_row, first_column;

  __device__ explicit Work(const Sizes& sizes)
      : head(static_cast<int>(blockIdx.x) / (sizes.tiles(kTile) * slices(sizes)), sizes),
        first_row((sizes.tiles(kTile) - 1 - static_cast<int>(blockIdx.x) / slices(sizes) % sizes.tiles(kTile)) * kTile),
        first_column(static_cast<int>(blockIdx.x) % slices(sizes) * kTile) {}

  __host__ __device__ static int slices(const Sizes& sizes) { return ceil_div(sizes.width, kTile); }
  static int64_t blocks(int64_t batch, const Sizes& sizes) {
    return batch * sizes.heads * sizes.tiles(kTile) * slices(sizes);
  }
  __device__ int key_limit(const Sizes& sizes) const {
    return sizes.causal ? min(sizes.length, first_row + kTile) : sizes.length;
  }
};

__device__ bool sees(int query, int key, const Sizes& sizes) {
  return key < sizes.length && (!sizes.causal || key <= query);
}

template <class T>
__global__ void __launch_bounds__(kBlock, 2) general_forward_kernel(const __grid_constant__ Forward<T> args) {
  __shared__ Shared shared;
  const Sizes& sizes = args.sizes;
  const Work work(sizes);
  const HeadRows q = work.head.rows(args.qkv, 0), k = work.head.rows(args.qkv, 1), v = work.head.rows(args.qkv, 2);
  const float scale = sizes.scale * kLog2e;
  float max[4], sum[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) max[i] = -INFINITY, sum[i] = 0;
  Square o = {};
  // Every row sees the first key, so after the first tile no maximum is minus infinity.
  for (int key = 0; key < work.key_limit(sizes); key += kTile) {
    Square s;
    products(shared, s, q, work.first_row, k, key, sizes);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int query = work.first_row + own_row() + i;
      float largest = max[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = sees(query, key + own_column() + j, sizes) ? s[i][j] * scale : -INFINITY;
        largest = fmaxf(largest, s[i][j]);
      }
      largest = across_row(largest, [](float a, float b) { return fmaxf(a, b); });
      const float shrink = exp2f(max[i] - largest);
      max[i] = largest;
      sum[i] *= shrink;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = exp2f(s[i][j] - largest);
        sum[i] += s[i][j];
        o[i][j] *= shrink;
      }
    }
    set_weights_transposed(shared, s);
    add_weighted(shared, o, v, key, work.first_column, sizes);
  }
  float factors[4], *lse = work.head.numbers(args.lse);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum[i] = across_row(sum[i], [](float a, float b) { return a + b; });
    factors[i] = 1 / sum[i];
    const int query = work.first_row + own_row() + i;
    if (work.first_column == 0 && own_column() == 0 && query < sizes.length) {
      lse[query] = max[i] / kLog2e + logf(sum[i]);
    }
  }
  store_square(o, factors, work.head.rows(args.o), work.first_row, work.first_column, sizes);
}

/// In place of scores p and products ds = do v^T of rows `query` and columns `key`: the probability and dS.
__device__ void differentiate(float& p, float& ds, int query, int key, float scale, const float* lse, float dot,
                              const Sizes& sizes) {
  const bool seen = query < sizes.length && sees(query, key, sizes);
  p = seen ? exp2f(fmaf(p, scale, -kLog2e * lse[query])) : 0.0f;
  ds = seen ? p * (ds - dot) : 0.0f;
}

template <class T>
__global__ void __launch_bounds__(kBlock, 2) general_dq_kernel(const __grid_constant__ Backward<T> args) {
  __shared__ Shared shared;
  const Sizes& sizes = args.sizes;
  const Work work(sizes);
  const HeadRows q = work.head.rows(args.qkv, 0), k = work.head.rows(args.qkv, 1), v = work.head.rows(args.qkv, 2);
  const HeadRows d_o = work.head.rows(args.d_o), o = work.head.rows(args.o);
  const float *lse = work.head.numbers(args.lse), scale = sizes.scale * kLog2e;
  float dots[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int query = work.first_row + own_row() + i;
    float dot = 0;
    if (query < sizes.length) {
      for (int column = own_column() / 4; column < sizes.width; column += 16) {
        dot = fmaf(widen(d_o[query][column]), widen(o[query][column]), dot);
      }
    }
    dots[i] = across_row(dot, [](float a, float b) { return a + b; });
    if (work.first_column == 0 && own_column() == 0 && query < sizes.length) {
      work.head.numbers(args.dots)[query] = dots[i];
    }
  }
  Square dq = {};
  for (int key = 0; key < work.key_limit(sizes); key += kTile) {
    Square p, ds;
    products(shared, p, q, work.first_row, k, key, sizes);
    products(shared, ds, d_o, work.first_row, v, key, sizes);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        differentiate(p[i][j], ds[i][j], work.first_row + own_row() + i, key + own_column() + j, scale, lse, dots[i],
                      sizes);
      }
    }
    set_weights_transposed(shared, ds);
    add_weighted(shared, dq, k, key, work.first_column, sizes);
  }
  const float factors[4] = {sizes.scale, sizes.scale, sizes.scale, sizes.scale};
  store_square(dq, factors, work.head.rows(args.dqkv, 0), work.first_row, work.first_column, sizes);
}

template <class T>
__global__ void __launch_bounds__(kBlock, 2) general_dkv_kernel(const __grid_constant__ Backward<T> args) {
  __shared__ Shared shared;
  const Sizes& sizes = args.sizes;
  const Work work(sizes);
  const HeadRows q = work.head.rows(args.qkv, 0), k = work.head.rows(args.qkv, 1), v = work.head.rows(args.qkv, 2);
  const HeadRows d_o = work.head.rows(args.d_o);
  const float *lse = work.head.numbers(args.lse), *dots = work.head.numbers(args.dots), scale = sizes.scale * kLog2e;
  Square dk = {}, dv = {};
  for (int query = sizes.causal ? work.first_row : 0; query < sizes.length; query += kTile) {
    Square p, ds;  // rows are queries, columns are keys
    products(shared, p, q, query, k, work.first_row, sizes);
    products(shared, ds, d_o, query, v, work.first_row, sizes);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = query + own_row() + i;
      const float dot = row < sizes.length ? dots[row] : 0.0f;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        differentiate(p[i][j], ds[i][j], row, work.first_row + own_column() + j, scale, lse, dot, sizes);
      }
    }
    set_weights(shared, p);
    add_weighted(shared, dv, d_o, query, work.first_column, sizes);
    __syncthreads();
    set_weights(shared, ds);
    add_weighted(shared, dk, q, query, work.first_column, sizes);
  }
  const float factors[4] = {sizes.scale, sizes.scale, sizes.scale, sizes.scale}, ones[4] = {1, 1, 1, 1};
  store_square(dk, factors, work.head.rows(args.dqkv, 1), work.first_row, work.first_column, sizes);
  store_square(dv, ones, work.head.rows(args.dqkv, 2), work.first_row, work.first_column, sizes);
}

}  // namespace

void general_forward(Stream& stream, const AttentionForward& args) {
  const Sizes sizes(args.qkv, args.heads, args.scale, args.causal);
  dispatch(args.qkv.dtype, [&]<class T>() {
    const Forward<T> given{args.qkv.ptr<T>(), args.o.ptr<T>(), args.lse.ptr<float>(), sizes};
    launch(stream, "attention_forward", general_forward_kernel<T>, given, Work::blocks(args.qkv.size(0), sizes), kBlock,
           0);
  });
}

void general_backward(Stream& stream, const AttentionBackward& args) {
  const Sizes sizes(args.qkv, args.heads, args.scale, args.causal);
  const auto dots = stream.scratch<float>(args.lse.numel());
  dispatch(args.qkv.dtype, [&]<class T>() {
    const Backward<T> given{
        args.d_o.ptr<T>(), args.qkv.ptr<T>(), args.o.ptr<T>(), args.lse.ptr<float>(), args.dqkv.ptr<T>(), dots, sizes};
    const int64_t blocks = Work::blocks(args.qkv.size(0), sizes);
    launch(stream, "attention_backward: dq", general_dq_kernel<T>, given, blocks, kBlock, 0);
    launch(stream, "attention_backward: dk, dv", general_dkv_kernel<T>, given, blocks, kBlock, 0);
  });
}

}  // namespace mara::kernels::cuda::attention
