#pragma once
// Tensor-core primitives: bf16 and fp16 products of one warp, their operands out of shared memory, asynchronous copies
// into it.
//
// Who holds what in mma.m16n8k16, with lane = 4 g + t:
//   a (16 x 16): a0 = A[g][2t, 2t+1], a1 = A[g+8][2t, 2t+1], a2 = A[g][2t+8, 2t+9], a3 = A[g+8][2t+8, 2t+9]
//   b (16 x 8):  b0 = B[2t, 2t+1][g], b1 = B[2t+8, 2t+9][g]
//   c (16 x 8):  c0, c1 = C[g][2t, 2t+1], c2, c3 = C[g+8][2t, 2t+1]
// so two neighbouring accumulators, rounded, are one a operand: a product feeds the next without leaving registers.

#include <cuda_fp16.h>

#include "kernels/cuda/device.cuh"

namespace mara::kernels::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Four 8 x 8 matrices of bf16: lane l gives the address of row l % 8 of matrix l / 8 and receives, of each matrix, the
/// pair in row l / 4 at columns 2 (l % 4) and the next.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
/// The same of the transposed matrices.
__device__ __forceinline__ void load_transposed(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

/// c += a b.
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// The same of fp16 operands.
__device__ __forceinline__ void mma_half(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Two rounded values in one register, the first in its low half, and back.
__device__ __forceinline__ uint32_t pack_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ float low_of(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_of(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

/// The same in fp16.
__device__ __forceinline__ uint32_t pack_halves(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

/// Copies 16 (or 4) bytes into shared memory without passing through registers; zeros where there is nothing to copy,
/// and then `from` is not read.
__device__ __forceinline__ void copy_async_16(uint32_t to, const void* from, bool present) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(present ? 16 : 0)
               : "memory");
}
/// The same, and the whole line of 128 bytes comes to the L2 cache for those who want the rest.
__device__ __forceinline__ void copy_line_async_16(uint32_t to, const void* from, bool present) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(present ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_async_4(uint32_t to, const void* from, bool present) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(present ? 4 : 0)
               : "memory");
}
/// Closes a group of this thread's copies; waits until all but the last N groups have arrived.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/// bf16 rows of `Columns` (a multiple of 32) in shared memory. The 16-byte pieces of a row are permuted so that the
/// same piece of eight neighbouring rows, which is what one matrix load reads, lies in eight different groups of banks.
/// A tile starts at a multiple of 256 bytes.
template <int Columns>
struct SharedRows {
  static_assert(Columns % 32 == 0);
  static constexpr int kRowBytes = 2 * Columns;
  static constexpr int kPieces = Columns / 8;
  static constexpr bool kWholeLines = Columns % 64 == 0;  // a row is a multiple of all 32 banks

  __device__ __forceinline__ static uint32_t offset(int row, int piece) {
    const int permutation = kWholeLines ? row & 7 : row >> 1 & 3;
    return static_cast<uint32_t>(row * kRowBytes + ((piece ^ permutation) << 4));
  }
  /// A lane's offset for 16 rows x 16 columns as an a operand, or transposed as b operands: 16 deep, 2 x 8 columns.
  __device__ __forceinline__ static uint32_t lane_as_rows(int lane) { return offset(lane % 16, lane / 16); }
  /// A lane's offset for 16 rows x 16 columns as b operands of a product with the transposed rows: 2 x 8 rows, 16 deep.
  __device__ __forceinline__ static uint32_t lane_as_columns(int lane) {
    return offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  }
  /// The address `lane`, which is at columns [0, 16), moved on to columns [16 k, 16 k + 16). Rows are moved by adding
  /// multiples of 8 kRowBytes afterwards.
  __device__ __forceinline__ static uint32_t columns(uint32_t lane, int k) {
    return kWholeLines ? lane ^ static_cast<uint32_t>(32 * k)
                       : (lane ^ static_cast<uint32_t>(32 * (k & 1))) + static_cast<uint32_t>(64 * (k >> 1));
  }
};

/// 16 M rows as a operands, from a lane_as_rows address.
template <int Columns, int M>
__device__ __forceinline__ void load_operand(uint32_t (&a)[M][Columns / 16][4], uint32_t lane) {
  using Tile = SharedRows<Columns>;
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int k = 0; k < Columns / 16; ++k) load_matrices(a[m][k], Tile::columns(lane, k) + 16 * m * Tile::kRowBytes);
  }
}

/// c += a y^T, y being 8 N rows, from a lane_as_columns address. N is even.
template <int Columns, int M, int N>
__device__ __forceinline__ void multiply_transposed(float (&c)[M][N][4], const uint32_t (&a)[M][Columns / 16][4],
                                                    uint32_t lane) {
  using Tile = SharedRows<Columns>;
#pragma unroll
  for (int k = 0; k < Columns / 16; ++k) {
#pragma unroll
    for (int n = 0; n < N / 2; ++n) {
      uint32_t b[4];
      load_matrices(b, Tile::columns(lane, k) + 16 * n * Tile::kRowBytes);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        mma(c[m][2 * n], a[m][k], b[0], b[1]);
        mma(c[m][2 * n + 1], a[m][k], b[2], b[3]);
      }
    }
  }
}

/// c += p y, y being 8 N rows, from a lane_as_rows address; p, an accumulator, is rounded to bf16. N is even.
template <int Columns, int M, int N>
__device__ __forceinline__ void multiply(float (&c)[M][Columns / 8][4], const float (&p)[M][N][4], uint32_t lane) {
  using Tile = SharedRows<Columns>;
#pragma unroll
  for (int n = 0; n < N / 2; ++n) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        a[m][i] = pack_pair(p[m][2 * n + i / 2][i % 2 * 2], p[m][2 * n + i / 2][i % 2 * 2 + 1]);
    }
#pragma unroll
    for (int k = 0; k < Columns / 16; ++k) {
      uint32_t b[4];
      load_transposed(b, Tile::columns(lane, k) + 16 * n * Tile::kRowBytes);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        mma(c[m][2 * k], a[m], b[0], b[1]);
        mma(c[m][2 * k + 1], a[m], b[2], b[3]);
      }
    }
  }
}

}  // namespace mara::kernels::cuda
