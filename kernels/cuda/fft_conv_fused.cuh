#pragma once
// What the fused long convolutions do around the transforms of rows: filters in registers, rows on their way to and
// from device memory, sums of spectra. The transform itself is in fft_conv_row.cuh.

#include "kernels/cuda/fft_conv_row.cuh"

namespace mara::kernels::cuda {

/// A filter's spectrum, the i-th row of this warp: uint4 (2 k1 + h) 32 + lane holds re and im of row g + 8 h of tile
/// k1.
template <int R, int P = 1>
__device__ __forceinline__ ComplexTile load_filter(const uint4* spectrum, int i, int lane, int warp) {
  ComplexTile filter;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint4 half = __ldg(spectrum + (2 * (R * within_row<P>(warp) + i) + h) * 32 + lane);
    filter.re[h] = half.x, filter.re[h + 2] = half.y;
    filter.im[h] = half.z, filter.im[h + 2] = half.w;
  }
  return filter;
}

/// Where a lane stores what `emit` gets, and finds what belongs to it, in rows of `length`.
template <int R, int P = 1>
struct StorePlace {
  int offset, left;  // of its first elements, and how many the row has from there on

  __device__ __forceinline__ StorePlace(int length, int n2, int lane)
      : offset(R * 256 * within_row<P>(lane / 4) + 16 * n2 + 4 * (lane % 4)), left(length - offset) {}
  /// Of P rows, which the first four elements are of; those of h are of row P / 2 h further on.
  __device__ __forceinline__ static int row(int lane) { return row_of<P>(lane / 4); }
  /// The same, or one where nothing is stored.
  __device__ __forceinline__ StorePlace unless(bool absent) const {
    StorePlace place = *this;
    if (absent) place.left = 0;
    return place;
  }
  /// In the part of a row from `start` on.
  __device__ __forceinline__ void store(bfloat16* row, int a, int h, uint2 four, int start = 0) const {
    put(row + offset, a, h, four, start);
  }
  /// The same in a row that is given by where this lane's first elements are.
  __device__ __forceinline__ void put(bfloat16* own, int a, int h, uint2 four, int start = 0) const {
    const int beyond = 256 * (R * 8 * (P == 1 ? h : 0) + a);
    if (start + beyond < left) __stcs(reinterpret_cast<uint2*>(own + start + beyond), four);
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

  __device__ __forceinline__ void add(const TileSum& other) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      q[i] = {q[i].x + other.q[i].x, q[i].y + other.q[i].y, q[i].z + other.q[i].z, q[i].w + other.q[i].w};
    }
  }
  /// Adds numbers times a scale to row g + 8 h.
  __device__ __forceinline__ void add(int h, const float (&re)[4], const float (&im)[4], float scale) {
    const auto add_to = [&](float4& to, const float(&x)[4]) {
      to = {fmaf(scale, x[0], to.x), fmaf(scale, x[1], to.y), fmaf(scale, x[2], to.z), fmaf(scale, x[3], to.w)};
    };
    add_to(q[2 * h], re), add_to(q[2 * h + 1], im);
  }
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

/// Rows of a tensor (D, B, L), some batch rows further with every step, then on to the next channel.
struct Walk {
  Rows rows;
  int64_t step = 0, wrap = 0;  // bytes to the next step's first row, in the channel and to the next one's

  Walk(const View& view, int64_t per_step) : rows(view) {
    if (!view) return;
    step = per_step * rows.batch * static_cast<int64_t>(sizeof(bfloat16));
    wrap = rows.channel * static_cast<int64_t>(sizeof(bfloat16)) - (ceil_div(view.size(1), per_step) - 1) * step;
  }
  __host__ __device__ __forceinline__ bool present() const { return rows.data != nullptr; }
  __device__ __forceinline__ void move(bfloat16*& row, bool last) const {
    row = reinterpret_cast<bfloat16*>(reinterpret_cast<char*>(row) + (last ? wrap : step));
  }
};

}  // namespace mara::kernels::cuda
