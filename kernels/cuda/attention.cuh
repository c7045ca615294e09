#pragma once
// What the attention kernels have in common: where a head lies in the packed layout, tiles of its rows in and out of
// shared memory, and which of the two paths a call takes.
//
// Tensor-core path (attention_forward.cu, attention_backward.cu): bf16, heads of up to 128, a multiple of 8 (computed
// as 32, 64, 96 or 128, zeros beyond). General path (attention_general.cu): anything else, in f32.

#include <numbers>

#include "kernels/attention.h"
#include "kernels/cuda/mma.cuh"

namespace mara::kernels::cuda::attention {

struct Sizes {
  int length, heads, width;
  float scale;
  bool causal;

  Sizes(const View& qkv, int64_t heads, double scale, bool causal)
      : length(static_cast<int>(qkv.size(1))),
        heads(static_cast<int>(heads)),
        width(static_cast<int>(qkv.size(2) / 3 / heads)),
        scale(static_cast<float>(scale)),
        causal(causal) {}

  __host__ __device__ int64_t row() const { return static_cast<int64_t>(heads) * width; }
  __host__ __device__ int tiles(int rows) const { return ceil_div(length, rows); }
};

template <class T>
struct Forward {
  const T* qkv;
  T* o;
  float* lse;
  Sizes sizes;
};
template <class T>
struct Backward {
  const T *d_o, *qkv, *o;
  const float* lse;
  T* dqkv;
  float* dots;  // (B, H, L): D = rowsum(do o), written by the kernel for dq and read by the one for dk and dv
  Sizes sizes;
};

inline constexpr float kLog2e = std::numbers::log2e_v<float>;

/// Where the rows of one head of one sequence start; they are `stride` elements apart.
template <class T>
struct HeadRows {
  T* data;
  int64_t stride;

  __device__ T* operator[](int row) const { return data + row * stride; }
};
struct Head {
  int64_t sequence;  // batch * length
  int head;
  Sizes sizes;

  __device__ Head(int index, const Sizes& sizes)
      : sequence(static_cast<int64_t>(index / sizes.heads) * sizes.length), head(index % sizes.heads), sizes(sizes) {}

  /// Its rows of o or do.
  template <class T>
  __device__ HeadRows<T> rows(T* x) const {
    return {x + sequence * sizes.row() + head * sizes.width, sizes.row()};
  }
  /// Its rows of q, k or v (part 0, 1 or 2) in a packed projection.
  template <class T>
  __device__ HeadRows<T> rows(T* packed, int part) const {
    return {packed + (3 * sequence + part) * sizes.row() + head * sizes.width, 3 * sizes.row()};
  }
  /// Its numbers, one for a row, in lse or dots.
  template <class T>
  __device__ T* numbers(T* x) const {
    return x + sequence * sizes.heads + static_cast<int64_t>(head) * sizes.length;
  }
};

inline constexpr int kWarps = 4;
inline constexpr int kThreads = 32 * kWarps;

/// How the tensor-core kernels cut a head of up to `Columns`. A block owns kRows rows (queries, or keys) and walks over
/// the others, which pass through two rings of rows in shared memory, kStep at a time, copied kAhead steps in advance.
/// Each operand of a warp read from shared memory serves kM products; with two its bandwidth is no bound, but wider
/// heads leave registers for one only.
template <int Columns>
struct Plan {
  static constexpr int kM = Columns <= 64 ? 2 : 1;
  static constexpr int kWarpRows = 16 * kM;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kStep = 64;
  static constexpr int kAhead = Columns <= 64 ? 2 : 1;
  static constexpr int kRing = (kAhead + 1) * kStep;
  static constexpr int kRowBytes = SharedRows<Columns>::kRowBytes;
  static constexpr int kTileBytes = kRows * kRowBytes;
  static constexpr int kRingBytes = kRing * kRowBytes;
  static constexpr int kNumbersBytes = 2 * kRing * static_cast<int>(sizeof(float));  // rings of lse and D

  /// Ring row of the step that is copied when the step at `row` begins: it replaces the one before.
  __device__ static int copied(int row) { return row >= kStep ? row - kStep : kRing - kStep; }
  __device__ static int next(int row, int count) { return row + count == kRing ? 0 : row + count; }
};

/// This thread's warp, known to the compiler to be the same in all of the warp.
__device__ __forceinline__ int warp_index() { return __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32, 0); }

/// threadIdx.x, read anew at every use: what follows from it in a loop is then not kept in registers between passes.
__device__ __forceinline__ int fresh_thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

/// Starts copying rows [first, first + Count) into a tile of shared memory, zeros beyond `length` and `width`.
template <int Columns, int Count>
__device__ __forceinline__ void copy_rows(uint32_t tile, const HeadRows<const bfloat16>& rows, int first,
                                          const Sizes& sizes) {
  using Tile = SharedRows<Columns>;
  constexpr int kPass = kThreads / Tile::kPieces / 8 * 8;  // rows copied at once: whole periods of the permutation
  static_assert(Count % kPass == 0);
  const int thread = fresh_thread_index(), row = thread / Tile::kPieces, piece = thread % Tile::kPieces;
  if (kThreads % Tile::kPieces != 0 && row >= kPass) return;
  const bfloat16* from = rows[first + row] + 8 * piece;
  const int left = 8 * piece < sizes.width ? sizes.length - first - row : 0;
  tile += Tile::offset(row, piece);
#pragma unroll
  for (int i = 0; i < Count; i += kPass) {
    copy_async_16(tile + i * Tile::kRowBytes, from, i < left);
    from += kPass * rows.stride;
  }
}

/// Stores a warp's accumulators, row by row times `factors` (of row g, g + 8, ... of a lane), as rows [first, first +
/// 16 M). They pass through `tile`, 16 M rows of shared memory that no other warp uses, to be stored 16 bytes at a
/// time.
template <int Columns, int M>
__device__ __forceinline__ void store_rows(const float (&c)[M][Columns / 8][4], const float (&factors)[2 * M],
                                           unsigned char* tile, const HeadRows<bfloat16>& rows, int first,
                                           const Sizes& sizes) {
  using Tile = SharedRows<Columns>;
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int n = 0; n < Columns / 8; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = factors[2 * m + half];
        const uint32_t offset = Tile::offset(16 * m + 8 * half + lane / 4, n) + 4 * static_cast<uint32_t>(lane % 4);
        *reinterpret_cast<uint32_t*>(tile + offset) =
            pack_pair(c[m][n][2 * half] * factor, c[m][n][2 * half + 1] * factor);
      }
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 16 * M * Tile::kPieces / 32; ++i) {
    const int row = (32 * i + lane) / Tile::kPieces, piece = (32 * i + lane) % Tile::kPieces;
    if (first + row < sizes.length && 8 * piece < sizes.width) {
      *reinterpret_cast<uint4*>(rows[first + row] + 8 * piece) =
          *reinterpret_cast<const uint4*>(tile + Tile::offset(row, piece));
    }
  }
}

/// Scores of queries [query, query + 16 M) and keys [key, key + 8 N): minus infinity for keys that a query does not
/// see.
template <int M, int N>
__device__ __forceinline__ void hide_unseen(float (&s)[M][N][4], int query, int key, const Sizes& sizes) {
  if (key + 8 * N <= (sizes.causal ? min(sizes.length, query + 1) : sizes.length)) return;
  const int lane = fresh_thread_index() % 32;
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = query + 16 * m + 8 * half + lane / 4;
      const int seen = (sizes.causal ? min(sizes.length, row + 1) : sizes.length) - key - lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < N; ++n) {
        if (8 * n >= seen) s[m][n][2 * half] = -INFINITY;
        if (8 * n + 1 >= seen) s[m][n][2 * half + 1] = -INFINITY;
      }
    }
  }
}

/// Sum or maximum over the four lanes that share a row of an accumulator.
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/// One block for each tile of `rows` rows of each head.
template <class Args>
void launch(Stream& stream, const char* name, void (*kernel)(Args), const Args& args, int64_t blocks, int threads,
            int shared_bytes) {
  if (shared_bytes > 48 * 1024) {
    MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  }
  kernel<<<exact_grid(blocks), threads, shared_bytes, native(stream)>>>(args);
  launched(name);
}

/// Whether the tensor-core path takes this call. A row's maximum is taken before the scale, which must be positive.
template <class... Pointers>
bool on_tensor_cores(const View& qkv, const Sizes& sizes, Pointers... pointers) {
  return qkv.dtype == Dtype::bf16 && sizes.width % 8 == 0 && sizes.width <= 128 && sizes.scale > 0 &&
         aligned(16, qkv.data, pointers...);
}

/// Calls f.template operator()<Columns>() with the narrowest tile that holds a head.
template <class F>
void dispatch_width(int width, F&& f) {
  if (width <= 32) return f.template operator()<32>();
  if (width <= 64) return f.template operator()<64>();
  if (width <= 96) return f.template operator()<96>();
  return f.template operator()<128>();
}

void general_forward(Stream& stream, const AttentionForward& args);
void general_backward(Stream& stream, const AttentionBackward& args);

}  // namespace mara::kernels::cuda::attention
