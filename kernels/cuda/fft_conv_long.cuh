#pragma once
// The right-angle transform of rows in global memory: what its phases share. See fft_conv_fused.cuh for the transform.
//
// A row of L = 256 Q1 256 Q2 points, n = M n1 + m with N1 = 256 Q1 and M = 256 Q2, v = k1 + N1 kk:
//   outer  A[k1, m] = sum_n1 e(-(k1 - 1/4) n1 / N1) x                 real input
//   inner  X[k1, kk] = sum_m e(-(kk + d) m / M) A,  d = (k1 - 1/4) / N1
// times the filter's spectrum, and backwards with the conjugates. A phase's transform is 16 x Q x 16:
//   outer  n1 = 16 (Q1 na + a) + nb,  k1 = k + 16 (s + Q1 kb):  over na for each a and nb, over a, over nb
//   inner  m = 256 a + 16 hi + lo,    kk = s + Q2 (k2 + 16 k3): over a, over hi for each s, over lo
// All factors between go into the matrices of 16 x 16 (and one table inside), those of a and s into whole tiles. The
// matrices of 16 carry 1 / 4, the sums over four 1 / 2, so that sizes stay, but for a square root of two for a Q of 2.
//
// Scratch between the phases is fp16. A line of 128 bytes holds 32 neighbours m = 32 G + 16 i + 4 c + j of one k1: 16
// words of real parts, then of imaginary ones; a word is the pair i = 0, 1, and four words c have j = 0, 2, 1, 3. So
// every phase finds the pairs it contracts over, in pieces of 16 bytes where others make them. Lines follow in the
// order (row, r, G), r = 16 (k1 mod N1 / 16) + k1 / (N1 / 16). The power of two that a line's numbers are multiples of
// is one for all k1: exponents (row, G).
//
// Rows beyond 2^20 come in parts of that size, each a row of the scratch: with parts x_c of a row and k_p of the
// filter, p < 0 if it has two sides, and H_p = R(k_p - i k_(p-1)),
//   y_c = Re R^-1(sum_p H_p X_(c-p)),  dx_c = Re R^-1(sum_p conj(H_p) G_(c+p)),  dH_p = sum_c G_c conj(X_(c-p)).

#include "kernels/cuda/fft_conv_fused.cuh"

namespace mara::kernels::cuda::long_rows {

/// Radices of a plan between the two factors of 256.
struct Radices {
  int outer, inner;

  __host__ __device__ int64_t points() const { return int64_t{65536} * outer * inner; }
  __host__ __device__ int rows() const { return 256 * outer; }     // N1
  __host__ __device__ int columns() const { return 256 * inner; }  // M
  __host__ __device__ int lines() const { return 8 * inner; }      // of a k1
};

/// k1 of the r-th row of a spectrum.
__device__ __forceinline__ int outer_frequency(int outer, int r) { return r / 16 + 16 * outer * (r % 16); }
/// The shift d of its inner transform.
__device__ __forceinline__ float inner_shift(const Radices& q, int r) {
  return (static_cast<float>(outer_frequency(q.outer, r)) - 0.25f) / static_cast<float>(q.rows());
}

/// Rows on their way: those of some channels and batch rows, in one or two regions: x forward; g and x backward.
struct Group {
  uint32_t* scratch;
  int* exponents;
  int64_t first_channel, first_batch;
  int channels, batches, parts, length;
  Radices radices;

  __host__ __device__ int rows() const { return channels * batches * parts; }  // of a region
  __device__ uint32_t* line(int row, int r, int line) const {
    return scratch + ((static_cast<int64_t>(row) * radices.rows() + r) * radices.lines() + line) * 32;
  }
};

/// Rows times a factor, which may be absent.
struct Source {
  ChannelRows<bfloat16> rows, factor;
};
/// Where a region's rows go: times factor[i] into out[i], each of which may be absent.
struct Target {
  ChannelRows<bfloat16> out[2], factor[2];
};

/// Which H_p of filters there are: `count` of each, from p = first on, of channels from `channel` on.
struct FilterParts {
  int first = 0, count = 1;
  int64_t channel = 0;

  /// The place of a channel's H_p with p = first + index.
  __device__ int64_t of(int64_t d, int index) const { return (d - channel) * count + index; }
};

/// Spectra of filters, (channel, part, r, s) tiles in the order of load_filter, and the exponents of their powers of
/// two: of each r, and the largest of a channel.
struct Spectra {
  uint4* values;
  int *exponents, *largest;
  FilterParts parts;

  __device__ int& largest_of(int64_t d) const { return largest[d - parts.channel]; }
  __device__ int& exponent(const Radices& q, int64_t d, int r, int index = 0) const {
    return exponents[parts.of(d, index) * q.rows() + r];
  }
  __device__ uint4* tiles(const Radices& q, int64_t d, int r, int index = 0) const {
    return values + (parts.of(d, index) * q.rows() + r) * (64 * q.inner);
  }
};

/// Sums for dk, (channel, part, r, s) tiles in the order of TileSum.
struct GradientSums {
  float4* values;
  FilterParts parts;

  __device__ float4* tiles(const Radices& q, int64_t d, int r, int index = 0) const {
    return values + (parts.of(d, index) * q.rows() + r) * (128 * q.inner);
  }
};

/// Filters, or their gradients, f32: k (D, K) acts at lags from 0 on, k_reverse at lags from 0 down, skip at 0.
struct Taps {
  float *k = nullptr, *k_reverse = nullptr, *skip = nullptr;
  int64_t k_channel = 0, k_tap = 0, k_reverse_channel = 0, k_reverse_tap = 0, skip_channel = 0;
  int taps = 0, taps_reverse = 0;
  bool accumulate = false, accumulate_reverse = false, accumulate_skip = false;

  Taps(const View& forward, const View& reverse, const View& at_zero) {
    if (forward) {
      k = forward.ptr<float>(), taps = static_cast<int>(forward.size(1));
      k_channel = forward.stride[0], k_tap = forward.stride[1];
    }
    if (reverse) {
      k_reverse = reverse.ptr<float>(), taps_reverse = static_cast<int>(reverse.size(1));
      k_reverse_channel = reverse.stride[0], k_reverse_tap = reverse.stride[1];
    }
    if (at_zero) skip = at_zero.ptr<float>(), skip_channel = at_zero.stride[0];
  }
  bool any() const { return k != nullptr || k_reverse != nullptr || skip != nullptr; }
};

// Spectra of `channels` filters from `first` on, part by part, by way of 8 bytes of scratch per point of a part.
void transform_filters(Stream& stream, const Taps& taps, const Radices& radices, int64_t length, int64_t first,
                       int channels, float2* scratch, const Spectra& spectra);
// And back.
void transform_gradients(Stream& stream, const GradientSums& sums, const Radices& radices, int64_t length,
                         int64_t first, int channels, float2* scratch, const Taps& gradients);

// The phases. `sources` and `targets` have an entry for each region.
void enter(Stream& stream, const Group& group, const Source* sources, int regions);
void multiply(Stream& stream, const Group& group, const Spectra& spectra);
// Region 0 holds g, which becomes dx if `dx`, region 1 x, which becomes c if `c`. Adds to the sums, or starts them.
void multiply_backward(Stream& stream, const Group& group, const Spectra& spectra, bool dx, bool c,
                       const GradientSums& sums, bool start);
// The same for rows of several parts.
void multiply_parts(Stream& stream, const Group& group, const Spectra& spectra);
void multiply_parts_backward(Stream& stream, const Group& group, const Spectra& spectra, bool dx, bool c,
                             const GradientSums& sums, bool start);
void leave(Stream& stream, const Group& group, const Spectra& spectra, const Target* targets, int first_region,
           int regions);

/// What is left of the products of a transform and its inverse: a factor 2 for each Q of 2.
inline float inverse_scale(const Radices& q) { return (q.outer == 2 ? 0.5f : 1.0f) * (q.inner == 2 ? 0.5f : 1.0f); }

/// sum_a e(-+ s a / Q) x_a into x_s.
template <int Q, bool kConj>
__device__ __forceinline__ void combine(ComplexTile (&x)[Q]) {
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    __half2 r[Q], m[Q];
#pragma unroll
    for (int a = 0; a < Q; ++a) r[a] = as_half2(x[a].re[q]), m[a] = as_half2(x[a].im[q]);
    if constexpr (Q == 2) {
      x[0].re[q] = as_word(__hadd2(r[0], r[1])), x[0].im[q] = as_word(__hadd2(m[0], m[1]));
      x[1].re[q] = as_word(__hsub2(r[0], r[1])), x[1].im[q] = as_word(__hsub2(m[0], m[1]));
    } else if constexpr (Q == 4) {
      const __half2 even_r = __hadd2(r[0], r[2]), even_i = __hadd2(m[0], m[2]);
      const __half2 first_r = __hsub2(r[0], r[2]), first_i = __hsub2(m[0], m[2]);
      const __half2 odd_r = __hadd2(r[1], r[3]), odd_i = __hadd2(m[1], m[3]);
      const __half2 second_r = __hsub2(m[1], m[3]), second_i = __hsub2(r[3], r[1]);  // times -i
      x[0].re[q] = as_word(__hadd2(even_r, odd_r)), x[0].im[q] = as_word(__hadd2(even_i, odd_i));
      x[2].re[q] = as_word(__hsub2(even_r, odd_r)), x[2].im[q] = as_word(__hsub2(even_i, odd_i));
      const __half2 plus_r = __hadd2(first_r, second_r), plus_i = __hadd2(first_i, second_i);
      const __half2 minus_r = __hsub2(first_r, second_r), minus_i = __hsub2(first_i, second_i);
      x[1].re[q] = as_word(kConj ? minus_r : plus_r), x[1].im[q] = as_word(kConj ? minus_i : plus_i);
      x[3].re[q] = as_word(kConj ? plus_r : minus_r), x[3].im[q] = as_word(kConj ? plus_i : minus_i);
    }
  }
}

/// Calls f.template operator()<Q>().
template <class F>
void with_radix(int radix, const F& f) {
  switch (radix) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    default:
      return f.template operator()<4>();
  }
}

/// Launches a kernel whose blocks may come while the last ones of the kernel before it still run; each must wait for
/// them before it touches global memory.
template <class... Params, class... Args>
void launch(Stream& stream, void (*kernel)(Params...), dim3 grid, int threads, size_t shared, const Args&... args) {
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid, config.blockDim = dim3(threads), config.dynamicSmemBytes = shared;
  config.stream = native(stream), config.attrs = &early, config.numAttrs = 1;
  MARA_CUDA(cudaLaunchKernelEx(&config, kernel, args...));
}
/// Lets blocks of the next kernel come where this one's leave room, when all of its own have.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
__device__ __forceinline__ void wait_for_last() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace mara::kernels::cuda::long_rows
