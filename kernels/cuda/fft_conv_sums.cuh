#pragma once
// Gradients of filters' spectra, summed on chip while the rows of a channel go by.

#include "kernels/cuda/fft_conv_fused.cuh"

namespace mara::kernels::cuda {

/// Sums over rows of a warp's R tiles, in registers or in shared memory; those of P warps that have the same k1 of
/// different rows are brought together when they are written.
template <int R, int P, bool kInShared = (R > 1)>
class SpectrumSums {
 public:
  static constexpr uint32_t kBytes = kInShared ? R * 32768 : (16 - 16 / P) * 2048;

  __device__ __forceinline__ SpectrumSums(uint32_t shared, int lane, int warp)
      : shared_(shared + (warp * R * 4 * 32 + lane) * 16), at_(warp * R * 4 * 32 + lane), first_(row_of<P>(warp) == 0) {
    clear();
  }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < R; ++i) set(i, TileSum{});
  }
  __device__ __forceinline__ void add(int i, const ComplexSums& x, const ComplexTile& y, float scale) {
    TileSum sum = get(i);
    sum.add(x, y, scale);
    set(i, sum);
  }
  /// By all warps: they meet if P > 1, and have met since the write before.
  __device__ __forceinline__ void write(float4* segment) {
    constexpr uint32_t kRow = 16 / P * 2048;  // the sums of one of P
    if constexpr (P > 1) {
      if (!kInShared && !first_) store(shared_ - kRow, only_);
      __syncthreads();
    }
    if (first_) {
#pragma unroll
      for (int i = 0; i < R; ++i) {
        TileSum sum = get(i);
#pragma unroll
        for (int p = 1; p < P; ++p) sum.add(load(shared_ + (kInShared ? p : p - 1) * kRow));
#pragma unroll
        for (int q = 0; q < 4; ++q) segment[at_ + 32 * (4 * i + q)] = sum.q[q];
      }
    }
    if constexpr (P > 1 && kInShared) __syncthreads();  // or others would clear theirs
  }

 private:
  __device__ __forceinline__ TileSum get(int i) const {
    if constexpr (!kInShared) return only_;
    return load(shared_ + 4 * i * 512);
  }
  __device__ __forceinline__ void set(int i, const TileSum& sum) {
    if constexpr (!kInShared) {
      only_ = sum;
    } else {
      store(shared_ + 4 * i * 512, sum);
    }
  }
  __device__ __forceinline__ static TileSum load(uint32_t from) {
    TileSum sum;
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const uint4 word = load_four(from + q * 512);
      sum.q[q] = {__uint_as_float(word.x), __uint_as_float(word.y), __uint_as_float(word.z), __uint_as_float(word.w)};
    }
    return sum;
  }
  __device__ __forceinline__ static void store(uint32_t to, const TileSum& sum) {
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      store_four(to + q * 512, {__float_as_uint(sum.q[q].x), __float_as_uint(sum.q[q].y), __float_as_uint(sum.q[q].z),
                                __float_as_uint(sum.q[q].w)});
    }
  }

  uint32_t shared_;
  int at_;
  bool first_;    // of P
  TileSum only_;  // in registers
};

}  // namespace mara::kernels::cuda
