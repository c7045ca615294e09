#pragma once
// Rows of any length, chunk by chunk, with filters of up to a chunk's length. See fft_conv_fused.cuh for the transform.
//
// What runs over the end of chunk c - 1 is what a transform of it wraps around, its imaginary part: with X_c = R(x_c),
//   y_c = Re R^-1(H (X_c - i X_(c-1))),   dx_c = Re R^-1(conj(H) (G_c + i G_(c+1))),
//   dH = sum_c G_c conj(X_c - i X_(c-1)) = sum_c (G_c + i G_(c+1)) conj(X_c).
// A row is walked in one direction, so that a chunk is transformed once and its spectrum handed on to its neighbour.
// The walk may begin anywhere in a row, with the chunk before where it does. The two chunks after one that is much
// larger keep a scale of at least 2^-15 of its own: small beside the row, not beside them.

#include "kernels/cuda/fft_conv_fused.cuh"

namespace mara::kernels::cuda {

/// -i a, or i a.
template <bool kConj>
__device__ __forceinline__ ComplexTile quarter_turned(const ComplexTile& a) {
  ComplexTile turned;
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    turned.re[q] = kConj ? as_word(__hneg2(as_half2(a.im[q]))) : a.im[q];
    turned.im[q] = kConj ? a.re[q] : as_word(__hneg2(as_half2(a.re[q])));
  }
  return turned;
}
/// s a + b, for an s that is twice in `factor`.
__device__ __forceinline__ ComplexTile scaled_sum(const ComplexTile& a, uint32_t factor, const ComplexTile& b) {
  ComplexTile sum;
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    sum.re[q] = as_word(__hfma2(as_half2(a.re[q]), as_half2(factor), as_half2(b.re[q])));
    sum.im[q] = as_word(__hfma2(as_half2(a.im[q]), as_half2(factor), as_half2(b.im[q])));
  }
  return sum;
}

/// A tile of each lane's own in shared memory.
struct CarriedTile {
  uint32_t address;

  __device__ __forceinline__ void store(const ComplexTile& tile) const {
    store_four(address, {tile.re[0], tile.re[1], tile.re[2], tile.re[3]});
    store_four(address + 512, {tile.im[0], tile.im[1], tile.im[2], tile.im[3]});
  }
  __device__ __forceinline__ ComplexTile load() const {
    const uint4 re = load_four(address), im = load_four(address + 512);
    return {{re.x, re.y, re.z, re.w}, {im.x, im.y, im.z, im.w}};
  }
};

/// Scales of the spectrum that a chunk hands on: the chunk's own, and the one that it is stored with, which is larger
/// where its neighbour's is.
struct CarriedScale {
  int own = 0, stored = 0;  // exponents; at first those of zeros

  /// One for this and a chunk of scale `next`. fp16 holds no larger factor than 2^15.
  __device__ __forceinline__ int common_with(int next) const { return max(max(own, next), stored - 15); }
  /// What brings the stored spectrum to a common scale.
  __device__ __forceinline__ uint32_t factor_to(int exponent) const {
    return static_cast<uint32_t>(max(15 + stored - exponent, 0) << 10) * 0x10001u;
  }
};

}  // namespace mara::kernels::cuda
