// Transforms of filters and of their gradients, in f32 on CUDA cores. See fft_conv_fused.cuh for the transform; its
// phases do not appear here, they cancel.
//
// Bound by memory and by the exchanges through shared memory; a block takes a channel, and a thread 16 points in each
// of three stages: over b, over n2 (with the R summands of a), over n3. 1 / (2 B) of the work of a convolution.

#include <algorithm>

#include "kernels/cuda/complex_tile.cuh"
#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.cuh"

namespace mara::kernels::cuda {
namespace {

__device__ __forceinline__ float2 operator+(float2 a, float2 b) { return {a.x + b.x, a.y + b.y}; }
__device__ __forceinline__ float2 operator-(float2 a, float2 b) { return {a.x - b.x, a.y - b.y}; }
__device__ __forceinline__ float2 operator*(float2 a, float2 b) {
  return {fmaf(a.x, b.x, -(a.y * b.y)), fmaf(a.x, b.y, a.y * b.x)};
}

/// One in 4 turns to the right, or to the left with kConj.
template <bool kConj>
__device__ __forceinline__ float2 quarter(float2 a) {
  return kConj ? float2{-a.y, a.x} : float2{a.y, -a.x};
}
template <bool kConj>
__device__ __forceinline__ void dft4(float2& a, float2& b, float2& c, float2& d) {
  const float2 even = a + c, odd = b + d, first = a - c, second = quarter<kConj>(b - d);
  a = even + odd, c = even - odd, b = first + second, d = first - second;
}
/// x[k] = sum_n e(-+ k n / 16) x[n], in place.
template <bool kConj>
__device__ __forceinline__ void dft16(float2 (&x)[16]) {
  constexpr float kCos[10] = {
      1, 0.92387953251128674f, 0.70710678118654752f, 0.38268343236508977f, 0, 0, -0.70710678118654752f, 0,
      0, -0.92387953251128674f};
  constexpr float kSin[10] = {
      0, 0.38268343236508977f, 0.70710678118654752f, 0.92387953251128674f, 1, 0, 0.70710678118654752f, 0,
      0, -0.38268343236508977f};
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    dft4<kConj>(x[n], x[4 + n], x[8 + n], x[12 + n]);
#pragma unroll
    for (int k = 1; k < 4; ++k) {
      if (n > 0) x[4 * k + n] = x[4 * k + n] * float2{kCos[k * n], kConj ? kSin[k * n] : -kSin[k * n]};
    }
  }
  float2 y[16];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    dft4<kConj>(x[4 * k], x[4 * k + 1], x[4 * k + 2], x[4 * k + 3]);
#pragma unroll
    for (int i = 0; i < 4; ++i) y[k + 4 * i] = x[4 * k + i];
  }
#pragma unroll
  for (int i = 0; i < 16; ++i) x[i] = y[i];
}

/// A channel in shared memory: rows of 256 between the first exchange's ends, of 16 with one of padding at the
/// second's.
template <int R>
struct Exchange {
  static constexpr int kThreads = 256 * R, kPoints = 4096 * R;
  static constexpr size_t kBytes = sizeof(float2) * (kPoints / 16 * 17);

  static __device__ __forceinline__ int wide(int row, int m) { return 256 * row + m; }
  static __device__ __forceinline__ int narrow(int k1, int k2, int n3) { return 17 * (16 * k1 + k2) + n3; }
};

/// e(-+ (k - 1/4) (256 a + m) / (4096 R)): what lies between the outer stage and the others, but for s.
template <int R>
__device__ __forceinline__ float2 outer_twiddle(int k, int a, int m) {
  return unit(-(static_cast<float>(k) - 0.25f) * static_cast<float>(256 * a + m) / (4096 * R));
}
__device__ __forceinline__ float2 conj(float2 a) { return {a.x, -a.y}; }

struct FilterArgs {
  const float *k, *skip;
  int64_t k_channel, k_tap, skip_channel;
  int taps;
  uint4* values;
  float* scale;
};

template <int R, int C>
__global__ void __launch_bounds__(256 * R, 4 / R) filter_kernel(const __grid_constant__ FilterArgs args) {
  using E = Exchange<R>;
  extern __shared__ __align__(16) float2 points[];
  __shared__ float largest[E::kThreads / 32];
  __shared__ int exponents[C];  // each part is written with a scale of its own at first
  const int64_t d = blockIdx.x;
  const int thread = threadIdx.x;
  const int k1 = thread / 16, position = thread % 16;
  const auto tap = [&](int n) {
    float value = 0 <= n && n < args.taps ? args.k[d * args.k_channel + n * args.k_tap] : 0.0f;
    if (n == 0 && args.skip != nullptr) value += args.skip[d * args.skip_channel];
    return value;
  };
  uint4* const values = args.values + d * (C * 1024 * R) + (2 * k1 + position / 8) * 32 + position % 8 * 4;
  int common = 0;
#pragma unroll 1
  for (int part = 0; part < C; ++part) {
    float2 x[16];
    {
      const int m = thread % 256, a = thread / 256;
#pragma unroll
      for (int b = 0; b < 16; ++b) {
        const int n = part * E::kPoints + 256 * (R * b + a) + m;
        x[b] = float2{tap(n), part > 0 ? -tap(n - E::kPoints) : 0.0f} * unit(static_cast<float>(b) / 64);
      }
      dft16<false>(x);
      if (part > 0) __syncthreads();
#pragma unroll
      for (int k = 0; k < 16; ++k) points[E::wide(16 * a + k, m)] = x[k] * outer_twiddle<R>(k, a, m);
    }
    __syncthreads();
    {
      const int n3 = thread % 16, k = k1 % 16, s = k1 / 16;
#pragma unroll
      for (int n2 = 0; n2 < 16; ++n2) {
        const int m = 16 * n2 + n3;
        x[n2] = points[E::wide(k, m)];
        if constexpr (R > 1) {
#pragma unroll
          for (int a = 1; a < R; ++a) {
            x[n2] = x[n2] + points[E::wide(16 * a + k, m)] * unit(-static_cast<float>(s * a) / R);
          }
          x[n2] = x[n2] * unit(-static_cast<float>(s * m) / (256 * R));
        }
      }
      dft16<false>(x);
      __syncthreads();
#pragma unroll
      for (int k2 = 0; k2 < 16; ++k2) {
        points[E::narrow(k1, k2, n3)] = x[k2] * unit(-static_cast<float>(k2 * n3) / 256);
      }
    }
    __syncthreads();
#pragma unroll
    for (int n3 = 0; n3 < 16; ++n3) x[n3] = points[E::narrow(k1, natural(position), n3)];
    dft16<false>(x);

    float most = 0;
#pragma unroll
    for (int i = 0; i < 16; ++i) most = fmaxf(most, fmaxf(fabsf(x[i].x), fabsf(x[i].y)));
    most = warp_max(most);
    if (thread % 32 == 0) largest[thread / 32] = most;
    __syncthreads();
#pragma unroll
    for (int warp = 0; warp < E::kThreads / 32; ++warp) most = fmaxf(most, largest[warp]);
    // The next power of two above, within what its inverse and products with rows' scales can take.
    const int exponent = min(max(static_cast<int>(__float_as_uint(most) >> 23) + 1, 64), 190);
    if (thread == 0) exponents[part] = exponent;
    common = max(common, exponent);
    const float scale = __uint_as_float(static_cast<uint32_t>(254 - exponent) << 23);
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      float2 c[4];  // columns 2 t, 2 t + 1, 8 + 2 t, 9 + 2 t
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 value = x[natural(2 * t + i % 2 + i / 2 * 8)];
        c[i] = {value.x * scale, value.y * scale};
      }
      values[part * (1024 * R) + t] = {pack_halves(c[0].x, c[1].x), pack_halves(c[2].x, c[3].x),
                                       pack_halves(c[0].y, c[1].y), pack_halves(c[2].y, c[3].y)};
    }
  }
  if (thread == 0) args.scale[d] = __uint_as_float(static_cast<uint32_t>(common) << 23);
  if constexpr (C == 1) return;
  __syncthreads();
  for (int part = 0; part < C; ++part) {
    const int exponent = exponents[part];
    if (exponent == common) continue;
    const float down = __uint_as_float(static_cast<uint32_t>(max(127 + exponent - common, 0)) << 23);
    const uint32_t factor = pack_halves(down, down);
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      uint4& four = values[part * (1024 * R) + t];
      four = {multiply_pair(four.x, factor), multiply_pair(four.y, factor), multiply_pair(four.z, factor),
              multiply_pair(four.w, factor)};
    }
  }
}

struct GradientArgs {
  const float4* sums;
  Segments segments;
  int length, taps;
  float *dk, *dskip;
  int64_t k_channel, k_tap, skip_channel;
  bool accumulate_k, accumulate_skip;
};

// Block (d, c) takes the c-th of C parts of channel d: what reaches k_c is P_c + i P_(c+1).
template <int R, int C>
__global__ void __launch_bounds__(256 * R, 4 / R) gradient_kernel(const __grid_constant__ GradientArgs args) {
  using E = Exchange<R>;
  extern __shared__ __align__(16) float2 points[];
  const int64_t d = blockIdx.x;
  const int thread = threadIdx.x, c = blockIdx.y;
  float2 x[16];
  {
    const int k1 = thread / 16, position = thread % 16;
    const Segments& segments = args.segments;
    const int64_t first = d * segments.batches, last = first + segments.batches;
    int64_t part = first * segments.parts / segments.rows;
    while (segments.begin(part + 1) <= first) ++part;
    while (segments.begin(part) > first) --part;
#pragma unroll
    for (int i = 0; i < 16; ++i) x[i] = {0, 0};
    for (; segments.begin(part) < last; ++part) {
      const float4* sums =
          args.sums + ((d + part) * C + c) * (2048 * R) + (4 * k1 + position / 8 * 2) * 32 + position % 8 * 4;
      const auto add = [&](bool turned) {
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          const float4 re = sums[t], im = sums[32 + t];
          const float2 four[4] = {{re.x, im.x}, {re.y, im.y}, {re.z, im.z}, {re.w, im.w}};
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float2& sum = x[natural(2 * t + i % 2 + i / 2 * 8)];
            sum = sum + (turned ? float2{-four[i].y, four[i].x} : four[i]);
          }
        }
      };
      add(false);
      if (c + 1 < C) {
        sums += 2048 * R;
        add(true);
      }
    }
    dft16<true>(x);
    const int k2 = natural(position);
#pragma unroll
    for (int n3 = 0; n3 < 16; ++n3) {
      points[E::narrow(k1, k2, n3)] = x[n3] * unit(static_cast<float>(k2 * n3) / 256);
    }
  }
  __syncthreads();
  {
    const int k1 = thread / 16, n3 = thread % 16, s = k1 / 16;
#pragma unroll
    for (int k2 = 0; k2 < 16; ++k2) x[k2] = points[E::narrow(k1, k2, n3)];
    dft16<true>(x);
    __syncthreads();
#pragma unroll
    for (int n2 = 0; n2 < 16; ++n2) {
      const int m = 16 * n2 + n3;
      points[E::wide(k1, m)] = R > 1 ? x[n2] * unit(static_cast<float>(s * m) / (256 * R)) : x[n2];
    }
  }
  __syncthreads();
  const int m = thread % 256, a = thread / 256;
#pragma unroll
  for (int k = 0; k < 16; ++k) {
    float2 sum = points[E::wide(k, m)];
#pragma unroll
    for (int s = 1; s < R; ++s) sum = sum + points[E::wide(16 * s + k, m)] * unit(static_cast<float>(s * a) / R);
    x[k] = sum * conj(outer_twiddle<R>(k, a, m));
  }
  dft16<true>(x);
#pragma unroll
  for (int b = 0; b < 16; ++b) {
    const int n = c * E::kPoints + 256 * (R * b + a) + m;
    const float2 twist = unit(static_cast<float>(b) / 64);  // its conjugate is what takes the twist off
    // The spectra carry 4^-6, their product that of both stages forward; the inverse asks for 1 / (4096 R).
    const float gradient = n < args.length ? (x[b].x * twist.x + x[b].y * twist.y) * (1.0f / R) : 0.0f;
    if (args.dk != nullptr && n < args.taps) {
      float& out = args.dk[d * args.k_channel + n * args.k_tap];
      out = args.accumulate_k ? out + gradient : gradient;
    }
    if (n == 0 && args.dskip != nullptr) {
      float& out = args.dskip[d * args.skip_channel];
      out = args.accumulate_skip ? out + gradient : gradient;
    }
  }
  if (args.dk == nullptr || args.accumulate_k || c + 1 < C) return;
  for (int n = C * E::kPoints + thread; n < args.taps; n += E::kThreads) {
    args.dk[d * args.k_channel + n * args.k_tap] = 0;
  }
}

template <class Kernel>
void allow_shared(Kernel* kernel, size_t bytes) {
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

}  // namespace

template <int R, int C>
void transform_filters(Stream& stream, const View& k, const View& skip, int64_t length, uint4* values, float* scale) {
  FilterArgs args{.k = k.ptr<float>(),
                  .skip = nullptr,
                  .k_channel = k.stride[0],
                  .k_tap = k.stride[1],
                  .skip_channel = 0,
                  .taps = static_cast<int>(std::min(k.size(1), length)),
                  .values = values,
                  .scale = scale};
  if (skip) args.skip = skip.ptr<float>(), args.skip_channel = skip.stride[0];
  allow_shared(filter_kernel<R, C>, Exchange<R>::kBytes);
  filter_kernel<R, C><<<exact_grid(k.size(0)), Exchange<R>::kThreads, Exchange<R>::kBytes, native(stream)>>>(args);
  launched("fft_conv: transform_filters");
}

template <int R, int C>
void transform_gradients(Stream& stream, const float4* sums, const Segments& segments, int64_t length, const View& dk,
                         bool accumulate_k, const View& dskip, bool accumulate_skip) {
  GradientArgs args{.sums = sums,
                    .segments = segments,
                    .length = static_cast<int>(length),
                    .taps = 0,
                    .dk = nullptr,
                    .dskip = nullptr,
                    .k_channel = 0,
                    .k_tap = 0,
                    .skip_channel = 0,
                    .accumulate_k = accumulate_k,
                    .accumulate_skip = accumulate_skip};
  if (dk) {
    args.dk = dk.ptr<float>(), args.taps = static_cast<int>(dk.size(1));
    args.k_channel = dk.stride[0], args.k_tap = dk.stride[1];
  }
  if (dskip) args.dskip = dskip.ptr<float>(), args.skip_channel = dskip.stride[0];
  allow_shared(gradient_kernel<R, C>, Exchange<R>::kBytes);
  const dim3 grid(exact_grid(segments.rows / segments.batches), C);
  gradient_kernel<R, C><<<grid, Exchange<R>::kThreads, Exchange<R>::kBytes, native(stream)>>>(args);
  launched("fft_conv: transform_gradients");
}

template void transform_filters<1, 1>(Stream&, const View&, const View&, int64_t, uint4*, float*);
template void transform_filters<2, 1>(Stream&, const View&, const View&, int64_t, uint4*, float*);
template void transform_filters<2, 2>(Stream&, const View&, const View&, int64_t, uint4*, float*);
template void transform_filters<2, 4>(Stream&, const View&, const View&, int64_t, uint4*, float*);
template void transform_gradients<1, 1>(Stream&, const float4*, const Segments&, int64_t, const View&, bool,
                                        const View&, bool);
template void transform_gradients<2, 1>(Stream&, const float4*, const Segments&, int64_t, const View&, bool,
                                        const View&, bool);
template void transform_gradients<2, 2>(Stream&, const float4*, const Segments&, int64_t, const View&, bool,
                                        const View&, bool);

}  // namespace mara::kernels::cuda
