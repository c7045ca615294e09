#pragma once
// The inner transform of long convolutions in three phases, of rows of 256 Q points: Q tiles in a warp's registers. See
// fft_conv_long.cuh.

#include "kernels/cuda/fft_conv_long.cuh"

namespace mara::kernels::cuda::long_rows {

/// A constant matrix as the left or the right operand: its registers, and those of -im.
struct Operand {
  uint32_t re[4], im[4], negative[4];

  template <bool kRight>
  __device__ __forceinline__ void load(uint32_t address) {
    constexpr int kFirst = kRight ? 2 : 1, kSecond = 3 - kFirst;  // mma wants the registers of a column half adjacent
    const uint4 r = load_four(address), i = load_four(address + 512);
    re[0] = r.x, re[kFirst] = r.y, re[kSecond] = r.z, re[3] = r.w;
    im[0] = i.x, im[kFirst] = i.y, im[kSecond] = i.z, im[3] = i.w;
    negate(negative, im);
  }
};
/// f x^T, or conj(f) x^T.
template <bool kConj>
__device__ __forceinline__ ComplexSums product(const Operand& f, const ComplexTile& x) {
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], f.re, x.re[j], x.re[j + 2]);
    mma_half(sums.im[j], kConj ? f.negative : f.im, x.re[j], x.re[j + 2]);
    mma_half(sums.re[j], kConj ? f.im : f.negative, x.im[j], x.im[j + 2]);
    mma_half(sums.im[j], f.re, x.im[j], x.im[j + 2]);
  }
  return sums;
}
/// x f, or x conj(f); registers 2 j and 2 j + 1 of f are column half j.
template <bool kConj>
__device__ __forceinline__ ComplexSums product(const ComplexTile& x, const Operand& f) {
  const uint32_t(&plus)[4] = kConj ? f.negative : f.im;
  const uint32_t(&minus)[4] = kConj ? f.im : f.negative;
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], x.re, f.re[2 * j], f.re[2 * j + 1]);
    mma_half(sums.im[j], x.re, plus[2 * j], plus[2 * j + 1]);
    mma_half(sums.re[j], x.im, minus[2 * j], minus[2 * j + 1]);
    mma_half(sums.im[j], x.im, f.re[2 * j], f.re[2 * j + 1]);
  }
  return sums;
}

/// tile *= (re, im) of each column half.
template <bool kConj>
__device__ __forceinline__ void turn(ComplexTile& tile, const __half2 (&re)[2], const __half2 (&im)[2]) {
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    const __half2 x = as_half2(tile.re[q]), y = as_half2(tile.im[q]), c = re[q >> 1],
                  s = kConj ? __hneg2(im[q >> 1]) : im[q >> 1];
    tile.re[q] = as_word(__hfma2(__hneg2(y), s, __hmul2(x, c)));
    tile.im[q] = as_word(__hfma2(x, s, __hmul2(y, c)));
  }
}

/// The inner transform for one k1. F and the table between its uses are symmetric for each s, as in RowTransform:
/// shifted by sigma = (s + d) / Q.
template <int Q>
class InnerTransform {
 public:
  static constexpr uint32_t kOfS = 2048, kBytes = Q * kOfS;  // F and the table

  __device__ __forceinline__ InnerTransform(uint32_t shared, int lane, const Radices& radices, int r)
      : shared_(shared + lane * 16), lane_(lane), d_(inner_shift(radices, r)) {}

  /// Writes the tables of s to shared memory, for all who share it; they must meet before the next.
  __device__ __forceinline__ void prepare(int s) const {
    const float sigma = (static_cast<float>(s) + d_) / Q;
    const auto table = [&](float shift, float points, float size) {
      return make_tile(lane_, [&](int p, int q) {
        const float2 e = unit(-(natural(p) + shift) * (natural(q) + shift) / points);
        return float2{size * e.x, size * e.y};
      });
    };
    const ComplexTile f = table(sigma, 16, 0.25f), between = table(-15 * sigma, 256, 1);
    const auto store = [&](int which, const uint32_t(&x)[4]) {
      store_four(shared_ + s * kOfS + which * 512, {x[0], x[1], x[2], x[3]});
    };
    store(0, f.re), store(1, f.im), store(2, between.re), store(3, between.im);
  }
  __device__ __forceinline__ void begin() {
    if constexpr (Q == 1) load_left(0), load_right(0);
  }

  /// Asks for a row, to be staged in Q KB of a warp's shared memory, and takes what was staged last. Pieces of lines
  /// are permuted so that four lines meet in no bank.
  __device__ __forceinline__ void fetch(uint32_t staged, const uint32_t* lines) const {
#pragma unroll
    for (int i = 0; i < 2 * Q; ++i) {
      const int line = 4 * i + lane_ / 8, piece = lane_ % 8;
      copy_async_16(staged + line * 128 + ((piece ^ (line & 6)) << 4), lines + line * 32 + piece * 4, true);
    }
    commit_copies();
  }
  __device__ __forceinline__ void take(ComplexTile (&x)[Q], uint32_t staged) const {
    const int g = lane_ / 4, line = 2 * (lane_ % 4);
    const uint32_t re_at = staged + line * 128 + (((g >> 1) ^ line) << 4) + (g & 1) * 8, im_at = re_at ^ 64;
#pragma unroll
    for (int a = 0; a < Q; ++a) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const uint2 re = load_two(re_at + a * 1024 + e * 128), im = load_two(im_at + a * 1024 + e * 128);
        x[a].re[2 * e] = re.x, x[a].re[2 * e + 1] = re.y;
        x[a].im[2 * e] = im.x, x[a].im[2 * e + 1] = im.y;
      }
    }
  }
  /// Line 8 a + 2 t + e has a lane's word pairs at 2 g.
  __device__ __forceinline__ void store(const ComplexTile (&x)[Q], uint32_t* lines) const {
#pragma unroll
    for (int a = 0; a < Q; ++a) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        uint32_t* const to = lines + place(a, e);
        *reinterpret_cast<uint2*>(to) = {x[a].re[2 * e], x[a].re[2 * e + 1]};
        *reinterpret_cast<uint2*>(to + 16) = {x[a].im[2 * e], x[a].im[2 * e + 1]};
      }
    }
  }

  /// Brings a row's lines, whose exponents lanes have, to the scale of `exponent` and parts it by s.
  __device__ __forceinline__ void part(ComplexTile (&x)[Q], int own, int exponent) const {
#pragma unroll
    for (int a = 0; a < Q; ++a) {
      __half2 re[2], im[2];
      const float2 e = a > 0 ? phase(a) : float2{kSize, 0};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int line = __shfl_sync(0xffffffffu, own, 8 * a + 2 * (lane_ % 4) + half);
        const float scale = __uint_as_float(static_cast<uint32_t>(max(127 + line - exponent, 0)) << 23);
        re[half] = __float2half2_rn(e.x * scale), im[half] = __float2half2_rn(e.y * scale);
      }
      if (a > 0) {
        turn<false>(x[a], re, im);
      } else {
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          x[0].re[q] = multiply_pair(x[0].re[q], as_word(re[q >> 1]));
          x[0].im[q] = multiply_pair(x[0].im[q], as_word(re[q >> 1]));
        }
      }
    }
    combine<Q, false>(x);
  }
  __device__ __forceinline__ void join(ComplexTile (&x)[Q]) const {
    combine<Q, true>(x);
#pragma unroll
    for (int a = Q == 4 ? 0 : 1; a < Q; ++a) {
      const float2 e = a > 0 ? phase(a) : float2{kSize, 0};
      const __half2 re[2] = {__float2half2_rn(e.x), __float2half2_rn(e.x)};
      const __half2 im[2] = {__float2half2_rn(e.y), __float2half2_rn(e.y)};
      turn<true>(x[a], re, im);
    }
  }

  /// The spectrum [k2, k3] of s, and the way back.
  __device__ __forceinline__ ComplexSums spectrum(const ComplexTile& x, int s) {
    if constexpr (Q > 1) load_left(s);
    ComplexTile tile = rounded(product<false>(left_, x));
    if constexpr (Q > 1) load_right(s);
    multiply<false>(tile, between_);
    return product<false>(tile, right_);
  }
  __device__ __forceinline__ ComplexTile inverse(const ComplexTile& x, int s) {
    if constexpr (Q > 1) load_left(s);
    ComplexTile tile = rounded(product<true>(left_, x));
    if constexpr (Q > 1) load_right(s);
    multiply<true>(tile, between_);
    return rounded(product<true>(tile, right_));
  }

 private:
  static constexpr float kSize = Q == 4 ? 0.5f : 1.0f;

  __device__ __forceinline__ int place(int a, int e) const {
    return (8 * a + 2 * (lane_ % 4) + e) * 32 + 2 * (lane_ / 4);
  }
  __device__ __forceinline__ float2 phase(int a) const {
    const float2 e = unit(-d_ * static_cast<float>(a) / Q);
    return {kSize * e.x, kSize * e.y};
  }
  __device__ __forceinline__ void load_left(int s) { left_.template load<false>(shared_ + s * kOfS); }
  __device__ __forceinline__ void load_right(int s) {
    right_.template load<true>(shared_ + s * kOfS);
    const uint4 re = load_four(shared_ + s * kOfS + 1024), im = load_four(shared_ + s * kOfS + 1536);
    between_ = {{re.x, re.y, re.z, re.w}, {im.x, im.y, im.z, im.w}};
  }

  uint32_t shared_;
  int lane_;
  float d_;
  Operand left_, right_;
  ComplexTile between_;
};

/// A tile of a filter's spectrum, brought to its channel's scale.
__device__ __forceinline__ ComplexTile load_tile(const uint4* tiles, int s, int lane, uint32_t factor) {
  ComplexTile tile;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint4 half = __ldg(tiles + (2 * s + h) * 32 + lane);
    tile.re[h] = multiply_pair(half.x, factor), tile.re[h + 2] = multiply_pair(half.y, factor);
    tile.im[h] = multiply_pair(half.z, factor), tile.im[h + 2] = multiply_pair(half.w, factor);
  }
  return tile;
}
__device__ __forceinline__ uint32_t filter_factor(const Spectra& spectra, const Radices& radices, int64_t d, int r,
                                                  int index = 0) {
  const int below = spectra.largest_of(d) - spectra.exponent(radices, d, r, index);
  const float factor = __uint_as_float(static_cast<uint32_t>(max(127 - below, 0)) << 23);
  return as_word(__float2half2_rn(factor));
}

/// The exponent of a row's lines, of which lanes have one each.
__device__ __forceinline__ int common_exponent(int own) { return __reduce_max_sync(0xffffffffu, own); }

struct MultiplyArgs {
  Group group;
  Spectra spectra;
  GradientSums sums;
  bool dx, start;
  int slots = 1;
};

}  // namespace mara::kernels::cuda::long_rows
