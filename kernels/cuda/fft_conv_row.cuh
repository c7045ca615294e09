#pragma once
// The right-angle transform of one row by one block, out of and into bf16 rows, for the fused long convolutions.
//
// A row of L = 4096 R real points is zero-extended and transformed with the twist of fft_conv_general.cu:
//   X(v) = sum_n x[n] e(-(v - 1/4) n / L),  e(a) = exp(2 pi i a).
// Split n = 256 (R b + a) + 16 n2 + n3 and v = k1 + 16 R (k2 + 16 k3), k1 = k + 16 s. Then, stage by stage,
//   Q_a[k]    = sum_b e(-(k - 1/4) (b + a / R) / 16) x        real times a constant matrix G_a: half the price
//   A[k, s]   = T[k, m] sum_a e(-s a / R) Q_a[k]              T = e(-(k - 1/4) m / L), m = 16 n2 + n3
//   [k2, n3]  = sum_n2 e(-(k2 + s / R) n2 / 16) A, times e(-(k2 + d) n3 / 256), d = s / R - 16 s / R
//   [k2, k3]  = sum_n3 e(-(k3 + s / R) n3 / 16) ...
// and backwards with the conjugates. What s puts into the exponents goes into the two inner matrices, which are thus
// the same for both, and a warp has only rows of one s. They and the inner twiddle are made symmetric, e(-(k2 + d) (n3
// + d) / 256) and so on, by phases of k1, k2 and k3 alone, which cancel against their conjugates on the way back and in
// products of a spectrum with another's conjugate: one copy in registers serves every use. With R = 1 no T is left:
// n2's part goes into G, for each warp has one n2, and n3's into the inner twiddle, for each warp has one k1.
//
// Rows of half or a quarter of 4096 points go through it P at a time (R = 1): piece b of 16 is piece b mod Q of row
// b / Q, Q = 16 / P, the outer matrix has a block of Q x Q for each row, and k1 = k + Q r is k of row r. Each of them
// has its own scale, and in one with a number that is not finite all numbers are held finite, so that no product
// spreads them to others, and the scale becomes NaN.
//
// fp16 inside, f32 sums. Each warp scales its columns by a power of two of its own, which the inner transform brings to
// that of the row: gradients of 1e-6 are as exact as data of 1, and rows do not see each other. The matrices carry 1 /
// 4 for each factor of 16 of the length, which keeps all stages in the range of fp16.
//
// Sixteen warps. In the outer stages a warp owns the 16 columns m of one n2, so that what it reads and writes of rows
// is its own; in the inner ones the R rows k1 from R warp on. Only between the two does data cross warps, through
// shared memory. A step of the block carries two rows, the one's outer stages beside the other's inner ones: the
// barriers between are split and have half a step to spare. Positions of n2, n3, k2, k3 in tiles are permuted by
// `natural`, so that an accumulator holds four neighbours of a row.

#include "kernels/cuda/channel_rows.cuh"
#include "kernels/cuda/fft_conv_stages.cuh"

namespace mara::kernels::cuda {

using Rows = ChannelRows<bfloat16>;

/// 2^(exponent - 128).
__device__ __forceinline__ float power_of_two(int exponent) {
  return __uint_as_float(static_cast<uint32_t>(exponent - 1) << 23);
}

/// One warp's share of the transform of a row, or of P short ones, one of Z; what is constant over rows stays in
/// registers, with kLean all but the outer matrices. With kAtHand rows enter as numbers in registers. Blocks of fewer
/// than sixteen warps have a part of n2 and of k1; a derived class says which, and where in its Tiles they are.
template <int R, int Z = 2, int P = 1, bool kLean = false, bool kAtHand = false, class Tiles = ComplexPlanes<16 * R>,
          int kWarps = 16>
class RowTransform {
  static_assert(P == 1 || (R == 1 && (P == 2 || P == 4)));

 public:
  using Planes = Tiles;
  using Row = StagedRow<R, P, 16 * kWarps, kAtHand ? 16 : 32>;
  static constexpr int Q = 16 / P;  // pieces of a row, if R = 1, and warps that have its k1 in the inner stages
  /// Shared memory of a block: the outer matrices, two for a, or with kLean for each warp, if they are there; for each
  /// of Z powers of two, one for a warp and row of P, scales of the rows if P > 1, and planes.
  static constexpr bool kOuterInShared = R > 1 || kLean;
  static constexpr uint32_t kMatrixBytes = R > 1 ? R * 2048 : kLean ? 16 * 2048 : 0;
  static constexpr bool kTwiddlesInShared = R > 1 && Z > 2;  // where registers are short
  static constexpr uint32_t kScales = kMatrixBytes, kRowScales = kScales + (P == 1 ? 128 : Z * P * 32);
  static constexpr uint32_t kTwiddles = kRowScales + (P == 1 ? 0 : 128);
  static constexpr uint32_t kPlanes = kTwiddles + (kTwiddlesInShared ? kWarps * 1024 : 0);
  static constexpr uint32_t kBytes = kPlanes + Z * Planes::kBytes;

  /// The block must meet before the first use: outer matrices are written to `shared`.
  __device__ __forceinline__ RowTransform(uint32_t shared, int lane, int warp)
      : RowTransform(shared, lane, warp, natural(warp), warp * R / 16) {}
  /// One with columns of n2 in the outer stages and rows of s in the inner ones.
  __device__ __forceinline__ RowTransform(uint32_t shared, int lane, int warp, int n2, int s)
      : shared_(shared),
        lane_(lane),
        warp_(warp),
        n2_(n2),
        inner_(inner_matrix(lane, static_cast<float>(s) / R), shared + kPlanes + (32 * warp + lane) * 16) {
    const float shift =
        R == 1 ? (static_cast<float>(within_row<P>(warp)) - 0.25f) / Q : -15.0f * static_cast<float>(s) / R;
    inner_twiddle_ = inner_twiddle(lane, shift);
    if constexpr (R == 1) {
      outer_[0] = outer_matrix<P, kAtHand>(lane, static_cast<float>(n2) / 16, false);
      outer_[1] = outer_matrix<P, kAtHand>(lane, static_cast<float>(n2) / 16, true);
      if constexpr (kOuterInShared) {
        for (int i = 0; i < 2; ++i) {
          const uint32_t at = shared + (2 * warp + i) * 1024 + lane * 16;
          store_four(at, {outer_[i].re[0], outer_[i].re[1], outer_[i].re[2], outer_[i].re[3]});
          store_four(at + 512, {outer_[i].im[0], outer_[i].im[1], outer_[i].im[2], outer_[i].im[3]});
        }
      }
      if constexpr (P > 1 && !kOuterInShared) {
        const uint32_t own = shared + kPlanes + (32 * warp + lane) * 16;
        for (ComplexTile& g : outer_) hide(g.re, own), hide(g.im, own);
      }
    } else {
      const auto twiddle = [&](int k, int column) {
        return unit(-(static_cast<float>(k) - 0.25f) * static_cast<float>(16 * n2 + natural(column)) / (4096 * R));
      };
      outer_[0] = make_tile(lane, twiddle);
      if constexpr (kTwiddlesInShared) {
        store_matrices(twiddles(), outer_[0].re);
        store_matrices(twiddles() + 512, outer_[0].im);
      } else {
        outer_[1] = make_tile(lane, [&](int column, int k) { return twiddle(k, column); });
        swap_middle(outer_[1].re), swap_middle(outer_[1].im);
      }
      if (warp < 2 * R) {
        const ComplexTile g = outer_matrix<P, kAtHand>(lane, static_cast<float>(warp / 2) / R, warp % 2 == 1);
        store_four(shared + warp * 1024 + lane * 16, {g.re[0], g.re[1], g.re[2], g.re[3]});
        store_four(shared + warp * 1024 + 512 + lane * 16, {g.im[0], g.im[1], g.im[2], g.im[3]});
      }
    }
    as_tile_ = shared + kPlanes + Planes::lane_as_tile(lane, warp);
    in_row_ = shared + kPlanes + Planes::lane_in_row(lane, R * warp);
  }

  /// n2 of this warp's columns.
  __device__ __forceinline__ int n2() const { return kWarps == 16 ? natural(warp_) : n2_; }

  /// Outer stage of row z, x = u, or u times w, both staged.
  template <bool kGated>
  __device__ __forceinline__ void enter(int z, uint32_t u, uint32_t w) const {
    uint32_t x[R][2][2];
    const uint32_t exponent = scaled_products<kGated>(x, u + columns(), w + columns());
    enter(z, x, exponent);
  }
  /// The same of numbers at hand: [a][h][2 j + i] is column 2 g + j of row 2 t + i + 8 h of a.
  __device__ __forceinline__ void enter(int z, const float (&numbers)[R][2][4]) const {
    static_assert(kAtHand);
    uint32_t x[R][2][2];
    const uint32_t exponent = scaled(x, numbers);
    enter(z, x, exponent);
  }

  /// What brings n2's columns of a transposed row to its scale, in fp16.
  struct Factors {
    uint32_t half[2];
  };
  /// The exponent of row z's scale, 2^(exponent - 128), when all warps have entered; of P rows, that of this warp's.
  __device__ __forceinline__ int common_scale(int z) const { return largest_scale(own_scales(z)); }
  /// One for rows z and z + 1.
  __device__ __forceinline__ int scale_of_both(int z) const {
    const uint2 a = own_scales(z), b = own_scales(z + 1);
    return largest_scale({__vmaxu2(a.x, b.x), __vmaxu2(a.y, b.y)});
  }
  __device__ __forceinline__ Factors factors_to(int exponent, int z) const {
    const uint2 own = own_scales(z);
    return {{to_scale(own.x, static_cast<uint32_t>(exponent)), to_scale(own.y, static_cast<uint32_t>(exponent))}};
  }

  /// Inner stages of the i-th of this warp's rows of z, brought to a scale: the spectrum [k2, k3] of k1.
  __device__ __forceinline__ ComplexSums spectrum(int z, int i, const Factors& factors) const {
    return spectrum(row(z, i), factors);
  }
  __device__ __forceinline__ ComplexSums spectrum(uint32_t row, const Factors& factors) const {
    ComplexTile tile = Planes::load_transposed(row);
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      tile.re[q] = multiply_pair(tile.re[q], factors.half[q >> 1]);
      tile.im[q] = multiply_pair(tile.im[q], factors.half[q >> 1]);
    }
    tile = rounded(multiply_left<false>(inner_, tile));
    multiply<false>(tile, inner_twiddle_);
    return multiply_right<false>(tile, inner_);
  }
  /// The way back, in place.
  __device__ __forceinline__ void invert(int z, int i, const ComplexTile& tile) const { invert(row(z, i), tile); }
  __device__ __forceinline__ void invert(uint32_t row, ComplexTile tile) const {
    tile = rounded(multiply_left<true>(inner_, tile));
    multiply<true>(tile, inner_twiddle_);
    Planes::store_transposed(row, rounded(multiply_right<true>(tile, inner_)));
  }

  /// The outer stage back: emit(a, h, c) gets c[0..3] = columns 4 t .. 4 t + 3 of row b = g + 8 h of a, without the
  /// scales. When all warps have inverted.
  template <class Emit>
  __device__ __forceinline__ void leave(int z, const Emit& emit) const {
    ComplexTile q[R];
#pragma unroll
    for (int s = 0; s < R; ++s) {
      q[s] = Planes::load_transposed(as_tile(z, s));
      if constexpr (R > 1) multiply<true>(q[s], twiddle(true));
    }
    butterfly<R, true>(q);
#pragma unroll
    for (int a = 0; a < R; ++a) {
      float c[2][4] = {};
      outer_products_back(c, outer(a, true), q[a]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float four[4] = {c[0][2 * h], c[0][2 * h + 1], c[1][2 * h], c[1][2 * h + 1]};
        emit(a, h, four);
      }
    }
  }

  /// The scale itself. P > 1: lets all warps know it, before this one inverts.
  __device__ __forceinline__ float scale_of(int z, int exponent) const {
    if constexpr (P == 1) return power_of_two(exponent);
    const float scale = exponent == kNotFinite ? __uint_as_float(0x7fffffffu) : power_of_two(exponent);
    if (lane_ == 0) {
      asm volatile("st.shared.f32 [%0], %1;" ::"r"(row_scale(z, row_of<P>(warp_))), "f"(scale) : "memory");
    }
    return scale;
  }
  /// P > 1: that of the row to which c of `emit` with h belongs.
  __device__ __forceinline__ float announced(int z, int h) const {
    return __uint_as_float(load_word(row_scale(z, row_of<P>(lane_ / 4) + h * P / 2)));
  }

  /// Where this lane finds, in a staged row, what belongs to c of `emit`.
  __device__ __forceinline__ uint32_t fours(int a, int h) const {
    return columns() + Row::lane_as_fours(lane_) + a * Row::kTile + 8 * h * Row::kStride;
  }

 protected:
  __device__ __forceinline__ uint32_t columns() const { return 32 * (kWarps == 16 ? n2() : n2_ % kWarps); }
  __device__ __forceinline__ uint32_t scales(int z, int row) const { return shared_ + kScales + (z * P + row) * 32; }
  __device__ __forceinline__ uint32_t row_scale(int z, int row) const {
    return shared_ + kRowScales + (z * P + row) * 4;
  }
  /// Of this lane's columns n2 of a transposed row, two to a word.
  __device__ __forceinline__ uint2 own_scales(int z) const {
    const uint32_t at = scales(z, row_of<P>(warp_)) + lane_ % 4 * 4;
    return {load_word(at), load_word(at + 16)};
  }
  __device__ __forceinline__ static int largest_scale(uint2 own) {
    uint32_t largest = __vmaxu2(own.x, own.y);
    largest = __vmaxu2(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
    largest = __vmaxu2(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
    return static_cast<int>(__vmaxu2(largest, __byte_perm(largest, 0, 0x1032)) >> 16);
  }
  /// fp16 of 2^(own - exponent) for two columns, or 0 where that is too small. None is above the exponent.
  __device__ __forceinline__ static uint32_t to_scale(uint32_t own, uint32_t exponent) {
    const uint32_t below = __vminu2(exponent * 0x10001u - own, 0x000f000fu);
    return 0x3c003c00u - (below << 10);
  }
  __device__ __forceinline__ uint32_t as_tile(int z, int s) const {
    const uint32_t place = as_tile_ + z * Planes::kBytes + s * 16 * Planes::kRowBytes;
    return kWarps == 16 ? place : place + elsewhere_[s];
  }
  __device__ __forceinline__ uint32_t row(int z, int i) const {  // rows of a warp differ in their bank permutation
    return R == 1 ? in_row_ + z * Planes::kBytes
                  : shared_ + kPlanes + z * Planes::kBytes + Planes::lane_in_row(lane_, R * warp_ + i);
  }

  /// From the registers of a transposed tile to those of b operands.
  __device__ __forceinline__ static void swap_middle(uint32_t (&tile)[4]) {
    const uint32_t middle = tile[1];
    tile[1] = tile[2], tile[2] = middle;
  }
  /// A lane's address in its warp's T, a tile of 16 rows of 32 bytes, real parts and then imaginary ones.
  __device__ __forceinline__ uint32_t twiddles() const {
    const int row = lane_ % 16, piece = lane_ / 16;
    return shared_ + kTwiddles + warp_ * 1024 + row * 32 + ((piece ^ row / 4 % 2) << 4);
  }
  /// T as a tile, or as b operands.
  __device__ __forceinline__ ComplexTile twiddle(bool as_b) const {
    if constexpr (!kTwiddlesInShared) return outer_[as_b];
    ComplexTile tile;
    if (as_b) {
      load_transposed(tile.re, twiddles());
      load_transposed(tile.im, twiddles() + 512);
    } else {
      load_matrices(tile.re, twiddles());
      load_matrices(tile.im, twiddles() + 512);
    }
    return tile;
  }
  __device__ __forceinline__ ComplexTile outer(int a, bool transposed) const {
    if constexpr (!kOuterInShared) return outer_[transposed];
    const uint32_t at = shared_ + (2 * (R == 1 ? warp_ : a) + transposed) * 1024 + lane_ * 16;
    const uint4 re = load_four(at), im = load_four(at + 512);
    return {{re.x, re.y, re.z, re.w}, {im.x, im.y, im.z, im.w}};
  }

  /// Outer stage of row z from `outer_products`' operands of each a, and what they are scaled by.
  __device__ __forceinline__ void enter(int z, const uint32_t (&x)[R][2][2], uint32_t exponent) const {
    if (lane_ < P) {
      asm volatile("st.shared.b16 [%0], %1;" ::"r"(scales(z, lane_) + 2 * warp_), "h"(static_cast<uint16_t>(exponent))
                   : "memory");
    }
    ComplexTile q[R];
#pragma unroll
    for (int a = 0; a < R; ++a) q[a] = outer_products(outer(a, false), x[a]);
    butterfly<R, false>(q);
#pragma unroll
    for (int s = 0; s < R; ++s) {
      if constexpr (R > 1) multiply<false>(q[s], twiddle(false));
      Planes::store(as_tile(z, s), q[s]);
    }
  }

  /// x scaled by 2^(128 - exponent), so that this warp's largest magnitude is in [2, 4): returns the exponent. Of P
  /// rows each has its own, which lane p returns for row p.
  template <bool kGated>
  __device__ __forceinline__ uint32_t scaled_products(uint32_t (&x)[R][2][2], uint32_t u_at, uint32_t w_at) const {
    if constexpr (P > 1) return scaled_rows<kGated>(x, u_at, w_at);
    uint32_t u[R][4], w[R][4], largest = 0;
#pragma unroll
    for (int a = 0; a < R; ++a) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const uint32_t rows = 4 * i * Row::kStride + a * Row::kTile;  // t + 4 i
        u[a][i] = load_word(u_at + Row::lane_as_pairs(lane_) + rows);
        if constexpr (kGated) w[a][i] = load_word(w_at + Row::lane_as_pairs(lane_) + rows);
        largest = larger_magnitude(largest, kGated ? multiply_bf16(u[a][i], w[a][i]) : u[a][i]);
      }
    }
    largest &= 0x7fff7fffu;
    largest = __reduce_max_sync(0xffffffffu, __vmaxu2(largest, __byte_perm(largest, 0, 0x1032)));
    const uint32_t exponent = min(max(largest >> 23, 16u), 238u);  // of bf16, and its scale must be one
    const uint32_t scale = (255 - exponent) * 0x00800080u;
#pragma unroll
    for (int a = 0; a < R; ++a) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t first = u[a][2 * half], second = u[a][2 * half + 1];
        if constexpr (kGated) {
          const uint32_t by_first = multiply_bf16(w[a][2 * half], scale);
          const uint32_t by_second = multiply_bf16(w[a][2 * half + 1], scale);
          x[a][0][half] = pack_halves(low_of(first) * low_of(by_first), low_of(second) * low_of(by_second));
          x[a][1][half] = pack_halves(high_of(first) * high_of(by_first), high_of(second) * high_of(by_second));
        } else {
          first = multiply_bf16(first, scale), second = multiply_bf16(second, scale);
          x[a][0][half] = pack_halves(low_of(first), low_of(second));
          x[a][1][half] = pack_halves(high_of(first), high_of(second));
        }
      }
    }
    return exponent;
  }
  template <bool kGated>
  __device__ __forceinline__ uint32_t scaled_rows(uint32_t (&x)[R][2][2], uint32_t u_at, uint32_t w_at) const {
    uint32_t u[4], w[4], magnitude[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // row t + 4 i of 16
      u[i] = load_word(u_at + Row::lane_as_pairs(lane_) + 4 * i * Row::kStride);
      if constexpr (kGated) w[i] = load_word(w_at + Row::lane_as_pairs(lane_) + 4 * i * Row::kStride);
      magnitude[i] = (kGated ? multiply_bf16(u[i], w[i]) : u[i]) & 0x7fff7fffu;  // a NaN is the largest
    }
    uint32_t scale[P], own[P / 2];
#pragma unroll
    for (int p = 0; p < P / 2; ++p) {  // rows 2 p and 2 p + 1 as the halves of words
      const uint32_t first = P == 2 ? __vmaxu2(magnitude[0], magnitude[1]) : magnitude[2 * p];
      const uint32_t second = P == 2 ? __vmaxu2(magnitude[2], magnitude[3]) : magnitude[2 * p + 1];
      own[p] = exponents_of(__vmaxu2(__byte_perm(first, second, 0x5410), __byte_perm(first, second, 0x7632)));
      const uint32_t scales = 0x7f807f80u - (own[p] << 7);
      scale[2 * p] = __byte_perm(scales, 0, 0x1010), scale[2 * p + 1] = __byte_perm(scales, 0, 0x3232);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int p = half * P / 2, q = (2 * half + 1) * P / 4;  // rows of the two
      const uint32_t by_first = kGated ? multiply_bf16(w[2 * half], scale[p]) : scale[p];
      const uint32_t by_second = kGated ? multiply_bf16(w[2 * half + 1], scale[q]) : scale[q];
      const uint32_t first = kGated ? u[2 * half] : multiply_bf16(u[2 * half], by_first);
      const uint32_t second = kGated ? u[2 * half + 1] : multiply_bf16(u[2 * half + 1], by_second);
      const auto product = [&](float x, float by) { return kGated ? x * by : x; };
      x[0][0][half] = at_most_four(
          pack_halves(product(low_of(first), low_of(by_first)), product(low_of(second), low_of(by_second))));
      x[0][1][half] = at_most_four(
          pack_halves(product(high_of(first), high_of(by_first)), product(high_of(second), high_of(by_second))));
    }
    return own_exponent(own);
  }

  /// Numbers at hand as b operands, scaled in the same way.
  __device__ __forceinline__ uint32_t scaled(uint32_t (&x)[R][2][2], const float (&numbers)[R][2][4]) const {
    float largest[2] = {}, scale[2];  // of each h; a NaN is the largest
#pragma unroll
    for (int a = 0; a < R; ++a) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        asm("max.NaN.f32 %0, %0, %1;" : "+f"(largest[i / 4]) : "f"(fabsf(numbers[a][i / 4][i % 4])));
      }
    }
    const uint32_t most[2] = {__float_as_uint(largest[0]), __float_as_uint(largest[1])};
    uint32_t exponent;
    if constexpr (P == 1) {
      exponent = min(max(__reduce_max_sync(0xffffffffu, max(most[0], most[1])) >> 23, 16u), 238u);
      scale[0] = scale[1] = __uint_as_float((255 - exponent) << 23);
    } else {
      const int place = P == 4 ? lane_ / 2 % 2 * 16 : 0;  // of the second of the two rows of an h
      uint32_t own[P / 2];
#pragma unroll
      for (int p = 0; p < P / 2; ++p) {
        own[p] = exponents_of(P == 2 ? __byte_perm(most[0], most[1], 0x7632) : most[p] >> 16 << place);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t of_row = own[h * P / 4] >> (P == 2 ? 16 * h : place);
        scale[h] = __uint_as_float((255 - (of_row & 0xffffu)) << 23);
      }
      exponent = own_exponent(own);
    }
#pragma unroll
    for (int a = 0; a < R; ++a) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int j = i / 2, h = i % 2;
        x[a][j][h] = pack_halves(numbers[a][h][2 * j] * scale[h], numbers[a][h][2 * j + 1] * scale[h]);
        if constexpr (P > 1) x[a][j][h] = at_most_four(x[a][j][h]);
      }
    }
    return exponent;
  }

  /// P > 1: the exponents of two rows from the halves that a lane holds of their largest magnitudes, as bf16; and the
  /// one that this lane announces.
  __device__ __forceinline__ static uint32_t exponents_of(uint32_t most) {
    const uint32_t high = __reduce_max_sync(0xffffffffu, most), low = __reduce_max_sync(0xffffffffu, most << 16);
    const uint32_t exponents = __byte_perm(low, high, 0x7632) >> 7 & 0x01ff01ffu;
    return __vminu2(__vmaxu2(exponents, 0x00100010u), kNotFinite * 0x10001u);
  }
  __device__ __forceinline__ uint32_t own_exponent(const uint32_t (&own)[P / 2 + (P == 1)]) const {
    return (P == 2 || lane_ < 2 ? own[0] : own[P / 2 - 1]) >> (lane_ & 1) * 16 & 0xffffu;
  }

  uint32_t shared_;
  int lane_, warp_, n2_;
  std::conditional_t<kWarps == 16, SymmetricMatrix, LeanSymmetricMatrix> inner_;
  ComplexTile inner_twiddle_;
  ComplexTile outer_[2];  // R = 1: G and its transposed; else T as a tile, and as b operands
  uint32_t as_tile_, in_row_;
  uint32_t elsewhere_[R];  // kWarps < 16: the way to where this lane's rows of s are, if it is not there
};

}  // namespace mara::kernels::cuda
