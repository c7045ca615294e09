#pragma once
// What the stages of the right-angle transform (fft_conv_row.cuh) are made of: the order of numbers in tiles, rows of
// bf16 in shared memory, constant matrices, the products of the outer stage.

#include "kernels/cuda/complex_tile.cuh"

namespace mara::kernels::cuda {

/// The index at a position in a tile.
__device__ __forceinline__ int natural(int position) {
  return (position & 6) << 1 | (position >> 2 & 2) | (position & 1);
}

/// Where P rows share 16 pieces, or as many warps: whose the n-th is, and which of its own. For one row spelled out, as
/// the compiler does not know that there are no more.
template <int P>
__device__ __forceinline__ int row_of(int n) {
  return P == 1 ? 0 : n / (16 / P);
}
template <int P>
__device__ __forceinline__ int within_row(int n) {
  return P == 1 ? n : n % (16 / P);
}

/// A row of bf16 in shared memory, as 16 R pieces of 256, or the same columns of all: row R b + a of them at place 16 a
/// + b, with a gap after each so that neither four rows b at eight pairs of columns nor at four fours meet in a bank,
/// or with a gap of 16 bytes, eight rows at 16 bytes.
template <int R, int P = 1, int kColumns = 256, int kGap = 32>
struct StagedRow {
  static constexpr uint32_t kPieces = 16 * R, kStride = 2 * kColumns + kGap, kTile = 16 * kStride,
                            kBytes = kPieces * kStride;

  /// A lane's pair of columns 2 g of 16 at row t; the four rows on at + 4 kStride.
  __device__ __forceinline__ static uint32_t lane_as_pairs(int lane) { return lane % 4 * kStride + lane / 4 * 4; }
  /// A lane's columns 4 t to 4 t + 3 of row g; eight rows on at + 8 kStride.
  __device__ __forceinline__ static uint32_t lane_as_fours(int lane) { return lane / 4 * kStride + lane % 4 * 8; }
  /// A warp's share, R of the pieces, of copying a row of `length`, its own of P. Zeros beyond its end, or where there
  /// is no row.
  __device__ __forceinline__ static void copy(uint32_t to, const bfloat16* row, int length, bool present, int lane,
                                              int warp) {
#pragma unroll
    for (int a = 0; a < R; ++a) {
      const int n = share(lane, warp) + 256 * a;
      copy_async_16(to + (16 * a + warp) * kStride + 16 * lane, row + n, present && n < length);
    }
  }
  /// Where a lane's part of the share begins in the row.
  __device__ __forceinline__ static int share(int lane, int warp) { return 256 * R * within_row<P>(warp) + 8 * lane; }
  /// The same with both ends given for the lane, and what the row has left from there on.
  __device__ __forceinline__ static void copy_own(uint32_t to, const bfloat16* own, int left, bool present) {
#pragma unroll
    for (int a = 0; a < R; ++a) copy_async_16(to + 16 * a * kStride, own + 256 * a, present && 256 * a < left);
  }
};

/// sum_a e(-s a / R) q_a into q_s, or with e(+ s a / R).
template <int R, bool kConj>
__device__ __forceinline__ void butterfly(ComplexTile (&q)[R]) {
  static_assert(R == 1 || R == 2);
  if constexpr (R == 2) {
    const auto both = [](uint32_t& a, uint32_t& b) {
      const __half2 sum = __hadd2(as_half2(a), as_half2(b)), difference = __hsub2(as_half2(a), as_half2(b));
      a = as_word(sum), b = as_word(difference);
    };
#pragma unroll
    for (int i = 0; i < 4; ++i) both(q[0].re[i], q[1].re[i]), both(q[0].im[i], q[1].im[i]);
  }
}

/// F[k, n] = e(-(k + shift) (n + shift) / 16) / 4, and the twiddle between the products with it.
__device__ __forceinline__ ComplexTile inner_matrix(int lane, float shift) {
  return make_tile(lane, [&](int p, int q) {
    const float2 e = unit(-(static_cast<float>(natural(p)) + shift) * (static_cast<float>(natural(q)) + shift) / 16);
    return float2{0.25f * e.x, 0.25f * e.y};
  });
}
__device__ __forceinline__ ComplexTile inner_twiddle(int lane, float shift) {
  return make_tile(lane, [&](int p, int q) {
    return unit(-(static_cast<float>(natural(p)) + shift) * (static_cast<float>(natural(q)) + shift) / 256);
  });
}
/// G[k, b] = e(-(k - 1/4) (b + offset) / Q), columns in the order in which staged rows enter, or as they are numbered
/// (kInOrder), or its transposed, rows in order. Zero between rows of P.
template <int P, bool kInOrder = false>
__device__ __forceinline__ ComplexTile outer_matrix(int lane, float offset, bool transposed) {
  constexpr int Q = 16 / P;
  return make_tile(lane, [&](int row, int column) {
    const int k = transposed ? column : row;
    const int b = transposed ? row : kInOrder ? column : column % 8 / 2 + column % 2 * 4 + column / 8 * 8;
    if (k / Q != b / Q) return float2{0, 0};
    const float2 e = unit(-(static_cast<float>(k % Q) - 0.25f) * (static_cast<float>(b % Q) + offset) / Q);
    constexpr float kSize = Q == 16 ? 0.25f : Q == 8 ? 0.35355339059327376f : 0.5f;
    return float2{kSize * e.x, kSize * e.y};
  });
}

/// The outer stage of one a: G times real numbers, b operands of which n-tile j holds columns 2 n + j.
__device__ __forceinline__ ComplexTile outer_products(const ComplexTile& g, const uint32_t (&x)[2][2]) {
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], g.re, x[j][0], x[j][1]);
    mma_half(sums.im[j], g.im, x[j][0], x[j][1]);
  }
  ComplexTile q;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int element = 2 * (i & 1) + (i >> 1);
    q.re[i] = pack_halves(sums.re[0][element], sums.re[1][element]);
    q.im[i] = pack_halves(sums.im[0][element], sums.im[1][element]);
  }
  return q;
}
/// The way back, q as b operands: c[j][2 h + i] is column 4 t + 2 j + i of row g + 8 h.
__device__ __forceinline__ void outer_products_back(float (&c)[2][4], const ComplexTile& g, const ComplexTile& q) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(c[j], g.re, q.re[2 * j], q.re[2 * j + 1]);
    mma_half(c[j], g.im, q.im[2 * j], q.im[2 * j + 1]);
  }
}

/// Of short rows that share a transform: the exponent of one with a number that is not finite.
constexpr int kNotFinite = 239;
/// Its pairs of fp16 with magnitudes up to 4, where all are that are finite. 4 takes the place of NaNs, which would
/// spread to the others.
__device__ __forceinline__ uint32_t at_most_four(uint32_t pair) {
  uint32_t y;
  asm("min.xorsign.abs.f16x2 %0, %1, %2;" : "=r"(y) : "r"(pair), "r"(0x44004400u));
  return y;
}

/// Takes words through shared memory, so that the compiler does not see which are zeros and make those anew for every
/// product.
__device__ __forceinline__ void hide(uint32_t (&words)[4], uint32_t own) {
  store_four(own, {words[0], words[1], words[2], words[3]});
  asm volatile("ld.volatile.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(own)
               : "memory");
}

}  // namespace mara::kernels::cuda
