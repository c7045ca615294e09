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
// fp16 inside, f32 sums. Each warp scales its columns by a power of two of its own, which the inner transform brings to
// that of the row: gradients of 1e-6 are as exact as data of 1, and rows do not see each other. The matrices carry 1 /
// 4 for each factor of 16 of the length, which keeps all stages in the range of fp16.
//
// Sixteen warps. In the outer stages a warp owns the 16 columns m of one n2, so that what it reads and writes of rows
// is its own; in the inner ones the R rows k1 from R warp on. Only between the two does data cross warps, through
// shared memory. A step of the block carries two rows, the one's outer stages beside the other's inner ones: the
// barriers between are split and have half a step to spare. Positions of n2, n3, k2, k3 in tiles are permuted by
// `natural` below, so that an accumulator holds four neighbours of a row.

#include "kernels/cuda/channel_rows.cuh"
#include "kernels/cuda/complex_tile.cuh"

namespace mara::kernels::cuda {

using Rows = ChannelRows<bfloat16>;

/// The index at a position in a tile.
__device__ __forceinline__ int natural(int position) {
  return (position & 6) << 1 | (position >> 2 & 2) | (position & 1);
}

/// A row of bf16 in shared memory, as 16 R pieces of 256: row R b + a of them at place 16 a + b, with a gap after each
/// so that neither four rows b at eight pairs of columns nor at four fours meet in a bank.
template <int R>
struct StagedRow {
  static constexpr uint32_t kPieces = 16 * R, kStride = 544, kTile = 16 * kStride, kBytes = kPieces * kStride;

  /// A lane's pair of columns 2 g of 16 at row t; the four rows on at + 4 kStride.
  __device__ __forceinline__ static uint32_t lane_as_pairs(int lane) { return lane % 4 * kStride + lane / 4 * 4; }
  /// A lane's columns 4 t to 4 t + 3 of row g; eight rows on at + 8 kStride.
  __device__ __forceinline__ static uint32_t lane_as_fours(int lane) { return lane / 4 * kStride + lane % 4 * 8; }
  /// A warp's share, R of the pieces, of copying a row of `length`. Zeros beyond its end, or where there is no row.
  __device__ __forceinline__ static void copy(uint32_t to, const bfloat16* row, int length, bool present, int lane,
                                              int warp) {
#pragma unroll
    for (int a = 0; a < R; ++a) {
      const int n = 256 * (R * warp + a) + 8 * lane;
      copy_async_16(to + (16 * a + warp) * kStride + 16 * lane, row + n, present && n < length);
    }
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

/// One warp's share of the transform of a row, one of Z; what is constant over rows stays in registers.
template <int R, int Z = 2>
class RowTransform {
 public:
  using Planes = ComplexPlanes<16 * R>;
  using Row = StagedRow<R>;
  /// Shared memory of a block: the outer matrices if R > 1, and for each of two rows planes and a power of two per
  /// warp.
  static constexpr uint32_t kMatrixBytes = R > 1 ? R * 2048 : 0;
  static constexpr bool kTwiddlesInShared = R > 1 && Z > 2;  // where registers are short
  static constexpr uint32_t kScales = kMatrixBytes, kTwiddles = kScales + 128;
  static constexpr uint32_t kPlanes = kTwiddles + (kTwiddlesInShared ? 16 * 1024 : 0);
  static constexpr uint32_t kBytes = kPlanes + Z * Planes::kBytes;

  /// The block must meet before the first use: outer matrices are written to `shared`.
  __device__ __forceinline__ RowTransform(uint32_t shared, int lane, int warp)
      : shared_(shared),
        lane_(lane),
        warp_(warp),
        inner_(inner_matrix(lane, warp), shared + kPlanes + (32 * warp + lane) * 16) {
    const float shift = R == 1 ? (static_cast<float>(warp) - 0.25f) / 16 : -15.0f * static_cast<float>(s()) / R;
    inner_twiddle_ = make_tile(lane, [&](int p, int q) {
      return unit(-(static_cast<float>(natural(p)) + shift) * (static_cast<float>(natural(q)) + shift) / 256);
    });
    if constexpr (R == 1) {
      outer_[0] = outer_matrix(static_cast<float>(n2()) / 16, false);
      outer_[1] = outer_matrix(static_cast<float>(n2()) / 16, true);
    } else {
      const auto twiddle = [&](int k, int column) {
        return unit(-(static_cast<float>(k) - 0.25f) * static_cast<float>(16 * n2() + natural(column)) / (4096 * R));
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
        const ComplexTile g = outer_matrix(static_cast<float>(warp / 2) / R, warp % 2 == 1);
        store_four(shared + warp * 1024 + lane * 16, {g.re[0], g.re[1], g.re[2], g.re[3]});
        store_four(shared + warp * 1024 + 512 + lane * 16, {g.im[0], g.im[1], g.im[2], g.im[3]});
      }
    }
    as_tile_ = shared + kPlanes + Planes::lane_as_tile(lane, warp);
    in_row_ = shared + kPlanes + Planes::lane_in_row(lane, R * warp);
  }

  /// n2 of this warp's columns.
  __device__ __forceinline__ int n2() const { return natural(warp_); }

  /// Outer stage of row z, x = u, or u times w, both staged.
  template <bool kGated>
  __device__ __forceinline__ void enter(int z, uint32_t u, uint32_t w) const {
    uint32_t x[R][2][2];  // b operands: n-tile j holds columns 2 n + j
    const uint32_t exponent = scaled_products<kGated>(x, u + columns(), w + columns());
    if (lane_ == 0) {
      asm volatile("st.shared.b16 [%0], %1;" ::"r"(scales(z) + 2 * warp_), "h"(static_cast<uint16_t>(exponent))
                   : "memory");
    }
    ComplexTile q[R];
#pragma unroll
    for (int a = 0; a < R; ++a) {
      const ComplexTile g = outer(a, false);
      ComplexSums sums{};
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        mma_half(sums.re[j], g.re, x[a][j][0], x[a][j][1]);
        mma_half(sums.im[j], g.im, x[a][j][0], x[a][j][1]);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int element = 2 * (i & 1) + (i >> 1);
        q[a].re[i] = pack_halves(sums.re[0][element], sums.re[1][element]);
        q[a].im[i] = pack_halves(sums.im[0][element], sums.im[1][element]);
      }
    }
    butterfly<R, false>(q);
#pragma unroll
    for (int s = 0; s < R; ++s) {
      if constexpr (R > 1) multiply<false>(q[s], twiddle(false));
      Planes::store(as_tile_ + z * Planes::kBytes + s * 16 * Planes::kRowBytes, q[s]);
    }
  }

  /// What brings n2's columns of a transposed row to its scale, in fp16.
  struct Factors {
    uint32_t half[2];
  };
  /// The exponent of row z's scale, 2^(exponent - 128), when all warps have entered.
  __device__ __forceinline__ int common_scale(int z) const { return largest_scale(own_scales(z), own_scales(z)); }
  /// One for rows z and z + 1.
  __device__ __forceinline__ int scale_of_both(int z) const { return largest_scale(own_scales(z), own_scales(z + 1)); }
  __device__ __forceinline__ Factors factors_to(int exponent, int z) const {
    const uint2 own = own_scales(z);
    return {{to_scale(own.x, exponent), to_scale(own.y, exponent)}};
  }

  /// Inner stages of the i-th of this warp's rows of z, brought to a scale: the spectrum [k2, k3] of k1.
  __device__ __forceinline__ ComplexSums spectrum(int z, int i, const Factors& factors) const {
    ComplexTile tile = Planes::load_transposed(row(z, i));
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
  __device__ __forceinline__ void invert(int z, int i, ComplexTile tile) const {
    tile = rounded(multiply_left<true>(inner_, tile));
    multiply<true>(tile, inner_twiddle_);
    Planes::store_transposed(row(z, i), rounded(multiply_right<true>(tile, inner_)));
  }

  /// The outer stage back: emit(a, h, c) gets c[0..3] = columns 4 t .. 4 t + 3 of row b = g + 8 h of a, without the
  /// scales. When all warps have inverted.
  template <class Emit>
  __device__ __forceinline__ void leave(int z, const Emit& emit) const {
    ComplexTile q[R];
#pragma unroll
    for (int s = 0; s < R; ++s) {
      q[s] = Planes::load_transposed(as_tile_ + z * Planes::kBytes + s * 16 * Planes::kRowBytes);
      if constexpr (R > 1) multiply<true>(q[s], twiddle(true));
    }
    butterfly<R, true>(q);
#pragma unroll
    for (int a = 0; a < R; ++a) {
      const ComplexTile g = outer(a, true);
      float c[2][4] = {};
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        mma_half(c[j], g.re, q[a].re[2 * j], q[a].re[2 * j + 1]);
        mma_half(c[j], g.im, q[a].im[2 * j], q[a].im[2 * j + 1]);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float four[4] = {c[0][2 * h], c[0][2 * h + 1], c[1][2 * h], c[1][2 * h + 1]};
        emit(a, h, four);
      }
    }
  }

  /// Where this lane finds, in a staged row, what belongs to c of `emit`.
  __device__ __forceinline__ uint32_t fours(int a, int h) const {
    return columns() + Row::lane_as_fours(lane_) + a * Row::kTile + 8 * h * Row::kStride;
  }

 private:
  __device__ __forceinline__ uint32_t columns() const { return 32 * n2(); }
  __device__ __forceinline__ int s() const { return warp_ * R / 16; }
  __device__ __forceinline__ uint32_t scales(int z) const { return shared_ + kScales + z * 32; }
  /// Of this lane's columns n2 of a transposed row, two to a word.
  __device__ __forceinline__ uint2 own_scales(int z) const {
    return {load_word(scales(z) + lane_ % 4 * 4), load_word(scales(z) + 16 + lane_ % 4 * 4)};
  }
  __device__ __forceinline__ static int largest_scale(uint2 a, uint2 b) {
    uint32_t largest = __vmaxu2(__vmaxu2(a.x, a.y), __vmaxu2(b.x, b.y));
    largest = __vmaxu2(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
    largest = __vmaxu2(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
    return static_cast<int>(max(largest >> 16, largest & 0xffffu));
  }
  /// fp16 of 2^(own - exponent) for two columns, or 0 where that is too small.
  __device__ __forceinline__ static uint32_t to_scale(uint32_t own, int exponent) {
    const int low = max(15 + static_cast<int>(own & 0xffffu) - exponent, 0);
    const int high = max(15 + static_cast<int>(own >> 16) - exponent, 0);
    return static_cast<uint32_t>(low << 10 | high << 26);
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
  __device__ __forceinline__ static ComplexTile inner_matrix(int lane, int warp) {
    const float shift = static_cast<float>(warp * R / 16) / R;
    return make_tile(lane, [&](int p, int q) {
      const float2 e = unit(-(static_cast<float>(natural(p)) + shift) * (static_cast<float>(natural(q)) + shift) / 16);
      return float2{0.25f * e.x, 0.25f * e.y};
    });
  }
  /// G[k, b] = e(-(k - 1/4) (b + offset) / 16), columns in the order in which `scaled_products` has rows, or its
  /// transposed, rows in order.
  __device__ __forceinline__ ComplexTile outer_matrix(float offset, bool transposed) const {
    return make_tile(lane_, [&](int row, int column) {
      const int k = transposed ? column : row, b = transposed ? row : column % 8 / 2 + column % 2 * 4 + column / 8 * 8;
      const float2 e = unit(-(static_cast<float>(k) - 0.25f) * (static_cast<float>(b) + offset) / 16);
      return float2{0.25f * e.x, 0.25f * e.y};
    });
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
    if constexpr (R == 1) return outer_[transposed];
    const uint32_t at = shared_ + (2 * a + transposed) * 1024 + lane_ * 16;
    const uint4 re = load_four(at), im = load_four(at + 512);
    return {{re.x, re.y, re.z, re.w}, {im.x, im.y, im.z, im.w}};
  }

  /// x scaled by 2^(128 - exponent), so that this warp's largest magnitude is in [2, 4): returns the exponent.
  template <bool kGated>
  __device__ __forceinline__ uint32_t scaled_products(uint32_t (&x)[R][2][2], uint32_t u_at, uint32_t w_at) const {
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
    largest = __reduce_max_sync(0xffffffffu, max(largest >> 16, largest & 0xffffu));
    const uint32_t exponent = min(max(largest >> 7, 16u), 238u);  // of bf16, and its scale must be one
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

  uint32_t shared_;
  int lane_, warp_;
  SymmetricMatrix inner_;
  ComplexTile inner_twiddle_;
  ComplexTile outer_[2];  // R = 1: G and its transposed; else T as a tile, and as b operands
  uint32_t as_tile_, in_row_;
};

/// A filter's spectrum, the i-th row of this warp: uint4 (2 k1 + h) 32 + lane holds re and im of row g + 8 h of tile
/// k1.
template <int R>
__device__ __forceinline__ ComplexTile load_filter(const uint4* spectrum, int i, int lane, int warp) {
  ComplexTile filter;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint4 half = __ldg(spectrum + (2 * (R * warp + i) + h) * 32 + lane);
    filter.re[h] = half.x, filter.re[h + 2] = half.y;
    filter.im[h] = half.z, filter.im[h + 2] = half.w;
  }
  return filter;
}

/// Where a lane stores what `emit` gets, and finds what belongs to it, in rows of `length`.
template <int R>
struct StorePlace {
  int offset, left;  // of its first elements, and how many the row has from there on

  __device__ __forceinline__ StorePlace(int length, int n2, int lane)
      : offset(R * 256 * (lane / 4) + 16 * n2 + 4 * (lane % 4)), left(length - offset) {}
  /// In the part of a row from `start` on.
  __device__ __forceinline__ void store(bfloat16* row, int a, int h, uint2 four, int start = 0) const {
    const int beyond = 256 * (R * 8 * h + a);
    if (start + beyond < left) __stcs(reinterpret_cast<uint2*>(row + offset + start + beyond), four);
  }
  /// Asks for what belongs to that, here and not where it is used first.
  __device__ __forceinline__ uint2 load(const bfloat16* row, int a, int h, int start) const {
    const int beyond = 256 * (R * 8 * h + a);
    uint2 four{};
    if (start + beyond < left) {
      asm volatile("ld.volatile.global.v2.b32 {%0, %1}, [%2];"
                   : "=r"(four.x), "=r"(four.y)
                   : "l"(__cvta_generic_to_global(row + offset + start + beyond)));
    }
    return four;
  }
};

/// Four neighbours of row b = g + 8 h of each a, for a lane.
template <int R>
struct Fours {
  uint2 at[R][2];

  __device__ __forceinline__ void load(const bfloat16* row, const StorePlace<R>& place, int start) {
#pragma unroll
    for (int a = 0; a < R; ++a) {
#pragma unroll
      for (int h = 0; h < 2; ++h) at[a][h] = place.load(row, a, h, start);
    }
  }
};

/// c times a scale, or times four bf16 numbers and a scale, rounded.
__device__ __forceinline__ uint2 scaled(const float (&c)[4], float scale) {
  return {pack_pair(c[0] * scale, c[1] * scale), pack_pair(c[2] * scale, c[3] * scale)};
}
__device__ __forceinline__ uint2 scaled(const float (&c)[4], float scale, uint2 by) {
  return {pack_pair(c[0] * (low_of(by.x) * scale), c[1] * (high_of(by.x) * scale)),
          pack_pair(c[2] * (low_of(by.y) * scale), c[3] * (high_of(by.y) * scale))};
}

/// f32 sums of a tile: columns 2 t, 2 t + 1, 8 + 2 t, 9 + 2 t of row g + 8 h, re in q[2 h] and im in q[2 h + 1].
struct TileSum {
  float4 q[4];

  /// Adds scale y conj(x).
  __device__ __forceinline__ void add(const ComplexSums& x, const ComplexTile& y, float scale) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float re[4] = {q[2 * h].x, q[2 * h].y, q[2 * h].z, q[2 * h].w};
      float im[4] = {q[2 * h + 1].x, q[2 * h + 1].y, q[2 * h + 1].z, q[2 * h + 1].w};
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float2 both_re = __half22float2(as_half2(y.re[h + c / 2 * 2]));
        const float2 both_im = __half22float2(as_half2(y.im[h + c / 2 * 2]));
        const float y_re = c % 2 == 0 ? both_re.x : both_re.y, y_im = c % 2 == 0 ? both_im.x : both_im.y;
        const float x_re = x.re[c / 2][2 * h + c % 2] * scale, x_im = x.im[c / 2][2 * h + c % 2] * scale;
        re[c] = fmaf(y_re, x_re, fmaf(y_im, x_im, re[c]));
        im[c] = fmaf(y_im, x_re, fmaf(-y_re, x_im, im[c]));
      }
      q[2 * h] = {re[0], re[1], re[2], re[3]};
      q[2 * h + 1] = {im[0], im[1], im[2], im[3]};
    }
  }
};

/// Sums that are to stay in the L2 cache while rows stream through it.
struct ResidentSums {
  uint64_t policy;

  __device__ __forceinline__ ResidentSums() {
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  }
  __device__ __forceinline__ float4 load(const float4* from) const {
    float4 x;
    asm volatile("ld.global.L2::cache_hint.v4.f32 {%0, %1, %2, %3}, [%4], %5;"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "l"(__cvta_generic_to_global(from)), "l"(policy)
                 : "memory");
    return x;
  }
  __device__ __forceinline__ void store(float4* to, float4 x) const {
    asm volatile("st.global.L2::cache_hint.v4.f32 [%0], {%1, %2, %3, %4}, %5;" ::"l"(__cvta_generic_to_global(to)),
                 "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w), "l"(policy)
                 : "memory");
  }
};

/// Rows of a tensor (D, B, L), some batch rows further with every step, then on to the next channel.
struct Walk {
  Rows rows;
  int64_t step = 0, wrap = 0;  // to the next step's first row, in the channel and to the next one's

  Walk(const View& view, int64_t per_step) : rows(view) {
    if (!view) return;
    step = per_step * rows.batch;
    wrap = rows.channel - (ceil_div(view.size(1), per_step) - 1) * step;
  }
  __device__ __forceinline__ bool present() const { return rows.data != nullptr; }
  __device__ __forceinline__ void move(bfloat16*& row, bool last) const { row += last ? wrap : step; }
};

/// 2^(exponent - 128).
__device__ __forceinline__ float power_of_two(int exponent) {
  return __uint_as_float(static_cast<uint32_t>(exponent - 1) << 23);
}

}  // namespace mara::kernels::cuda
