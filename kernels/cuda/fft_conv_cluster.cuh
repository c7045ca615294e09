#pragma once
// The right-angle transform of rows in C = 2 or 4 parts of 8192 points by a cluster of n = 2 C blocks of 8 warps, two
// blocks to a multiprocessor. See fft_conv_row.cuh.
//
// In the outer stages a block has half of a part's columns, n2 in [8 half, 8 half + 8), and a warp those of one n2. In
// the inner ones it has 32 / n of the rows k1 of all parts, and a warp two parts of one k1. What is between the stages
// goes from block to block in sections, one for each pair of blocks, which are like tokens: a block sends another its
// section of a row when that of the row before has come back, which says that the place is free. What a block has for
// itself stays where it is.

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/fft_conv_fused.cuh"

namespace mara::kernels::cuda {

/// Sections of a block's planes: for each block of a cluster real parts and then imaginary ones of `kRows` rows k1, of
/// 128 columns, those of a block's n2.
template <int C>
struct Sections : ComplexPlanes<8 / C> {
  static constexpr uint32_t kBlocks = 2 * C, kBytes = 16384;
  static constexpr uint32_t kRows = 32 / kBlocks, kSection = 512 * kRows;

  /// 16-byte piece 2 w + e of warp w's columns: neither eight rows at one piece nor a row at one e of four w of both
  /// halves meet in a bank.
  __device__ __forceinline__ static uint32_t offset(uint32_t k1, uint32_t half, uint32_t piece) {
    const uint32_t permutation = (k1 << 1 & 6) | (k1 >> 2 & 1);
    return k1 % kRows * 256 + ((piece ^ half ^ permutation) << 4);
  }
};

/// n2 of a warp: with position w % 4 + 4 half + 8 (w / 4) in tiles.
__device__ __forceinline__ int column_of(int warp, int half) {
  return 8 * half + warp % 2 + 4 * (warp / 2 % 2) + 2 * (warp / 4);
}

/// The lane, which the compiler does not know to be the same at every call: what was computed from it before is not
/// kept.
__device__ __forceinline__ int current_lane() {
  int lane;
  asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
  __builtin_assume(lane >= 0 && lane < 32);
  return lane;
}

/// A warp's share of the transforms: planes 0 and 1 are of its block's columns of g and x on their way out and of dx
/// and c on their way back, 2 and 3 of its rows k1 of all parts. What a block has of both is in the latter alone.
template <int C>
class ClusterTransform : public RowTransform<2, 4, 1, false, false, Sections<C>, 8> {
 public:
  using Base = RowTransform<2, 4, 1, false, false, Sections<C>, 8>;
  using Planes = Sections<C>;
  /// Shared memory: after that of the base the exponents of all blocks' warps, for g and x.
  static constexpr uint32_t kExponents = Base::kBytes, kBytes = kExponents + 2 * 16 * Planes::kBlocks;

  __device__ __forceinline__ ClusterTransform(uint32_t shared, int lane, int warp, int rank)
      : Base(shared, lane, warp, column_of(warp, rank % 2), rank / C),
        rank_(rank),
        row_of_block_(C == 4 ? warp % 4 : warp),
        near_(C == 4 ? warp / 4 : 0) {
    renew();
  }
  /// Computes addresses anew, which otherwise would be kept in memory between phases for want of registers.
  __device__ __forceinline__ void renew() {
    const int lane = this->lane_ = current_lane();
    const int half = rank_ % 2, k = lane % 16;
    this->as_tile_ =
        plane(0) + k / Planes::kRows * Planes::kSection + Planes::offset(k, half, 2 * this->warp_ + lane / 16);
#pragma unroll
    for (int s = 0; s < 2; ++s)
      this->elsewhere_[s] = (k + 16 * s) / static_cast<int>(Planes::kRows) == rank_ ? 2 * Planes::kBytes : 0;
    const int place = lane % 4 + lane / 16 * 4, half_of_place = lane / 4 % 2;  // of the n2 that has a matrix row
    in_row_ = half_of_place * Planes::kSection +
              Planes::offset(Planes::kRows * rank_ + row_of_block_, half_of_place, 2 * place + lane / 8 % 2);
    own_ = lane / 16 * Planes::kSection + row_of_block_ * 256 + lane % 16 * 16;
  }

  __device__ __forceinline__ uint32_t plane(int z) const { return this->shared_ + Base::kPlanes + z * Planes::kBytes; }
  /// Exponents of this block's warps as they entered, 16 bytes; those of all blocks' in its turn.
  __device__ __forceinline__ uint32_t entered_exponents(int z) const { return this->scales(z, 0); }
  __device__ __forceinline__ uint32_t exponents(int z) const {
    return this->shared_ + kExponents + z * (16 * Planes::kBlocks);
  }

  /// Puts this warp's with those of all.
  __device__ __forceinline__ void keep_exponent(int z) const {
    if (this->lane_ != 0) return;
    uint16_t exponent;
    const uint32_t from = entered_exponents(z) + 2 * this->warp_, to = exponents(z) + 16 * rank_ + 2 * this->warp_;
    asm volatile("ld.shared.b16 %0, [%1];" : "=h"(exponent) : "r"(from) : "memory");
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(to), "h"(exponent) : "memory");
  }

  __device__ __forceinline__ int row_exponent(int z) const {
    const uint32_t two = load_word(exponents(z) + this->lane_ % (4 * Planes::kBlocks) * 4);
    return static_cast<int>(__reduce_max_sync(0xffffffffu, max(two & 0xffffu, two >> 16)));
  }

  /// This warp's row k1, counted from its block's first.
  __device__ __forceinline__ int row_of_block() const { return row_of_block_; }
  /// The two parts of it that this warp transforms: of two all, of four the outer or the inner ones.
  __device__ __forceinline__ int near() const { return near_; }
  __device__ __forceinline__ int far() const { return C - 1 - near_; }

  /// What brings a part of z to a scale.
  __device__ __forceinline__ typename Base::Factors factors(int z, int part, int exponent) const {
    const int t = this->lane_ % 4;
    const uint32_t at = exponents(z) + (2 * part + t / 2) * 16 + t % 2 * 4, to = static_cast<uint32_t>(exponent);
    return {{this->to_scale(load_word(at), to), this->to_scale(load_word(at + 8), to)}};
  }
  __device__ __forceinline__ uint32_t row(int z, int part) const {
    return plane(2 + z) + in_row_ + part * (2 * Planes::kSection);
  }
  /// A spectrum in its place, where each lane has its own 32 bytes, for each h those of row g + 8 h: re and im of
  /// columns 2 t and 8 + 2 t.
  __device__ __forceinline__ void keep(int z, int part, const ComplexTile& tile) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      store_four(kept_at(z, part, h), {tile.re[h], tile.re[h + 2], tile.im[h], tile.im[h + 2]});
    }
  }
  __device__ __forceinline__ uint4 kept_half(int z, int part, int h) const { return load_four(kept_at(z, part, h)); }
  __device__ __forceinline__ ComplexTile kept(int z, int part) const {
    const uint4 a = kept_half(z, part, 0), b = kept_half(z, part, 1);
    return {{a.x, b.x, a.y, b.y}, {a.z, b.z, a.w, b.w}};
  }

 private:
  __device__ __forceinline__ uint32_t kept_at(int z, int part, int h) const {
    return plane(2 + z) + own_ + part * (2 * Planes::kSection) + h * Planes::kPlaneBytes;
  }

  int rank_, row_of_block_, near_;
  uint32_t in_row_, own_;
};

/// A tile of a filter's spectrum for a lane. Loaded at each call and not before: there are no registers to keep it in.
__device__ __forceinline__ ComplexTile load_tile(const uint4* from) {
  ComplexTile tile;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    asm volatile("ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(tile.re[h]), "=r"(tile.re[h + 2]), "=r"(tile.im[h]), "=r"(tile.im[h + 2])
                 : "l"(__cvta_generic_to_global(from + 32 * h)));
  }
  return tile;
}

/// Adds g conj(x) of four columns, two of them in a word.
__device__ __forceinline__ void add_products(float (&re)[4], float (&im)[4], uint4 g, uint4 x) {
  const uint32_t g_re[2] = {g.x, g.y}, g_im[2] = {g.z, g.w}, x_re[2] = {x.x, x.y}, x_im[2] = {x.z, x.w};
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    const float2 gr = __half22float2(as_half2(g_re[c])), gi = __half22float2(as_half2(g_im[c]));
    const float2 xr = __half22float2(as_half2(x_re[c])), xi = __half22float2(as_half2(x_im[c]));
    re[2 * c] = fmaf(gr.x, xr.x, fmaf(gi.x, xi.x, re[2 * c]));
    im[2 * c] = fmaf(gi.x, xr.x, fmaf(-gr.x, xi.x, im[2 * c]));
    re[2 * c + 1] = fmaf(gr.y, xr.y, fmaf(gi.y, xi.y, re[2 * c + 1]));
    im[2 * c + 1] = fmaf(gi.y, xr.y, fmaf(-gr.y, xi.y, im[2 * c + 1]));
  }
}

}  // namespace mara::kernels::cuda
