// Transforms of filters and of their gradients, in f32 on CUDA cores. See fft_conv_row.cuh for the transform; its
// phases do not appear here, they cancel.
//
// Bound by memory and by the exchanges through shared memory; a block takes a channel, or P short ones, and a thread 16
// points in each of three stages: over b, over n2 (with the R summands of a), over n3. 1 / (2 B) of the work of a
// convolution.

#include <algorithm>

#include "kernels/cuda/complex_tile.cuh"
#include "kernels/cuda/dft16.cuh"
#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.cuh"

namespace mara::kernels::cuda {
namespace {

/// The same of each of P parts of x.
template <int P, bool kConj>
__device__ __forceinline__ void dfts(float2 (&x)[16]) {
  static_assert(P == 1 || P == 2 || P == 4);
  if constexpr (P == 1) dft16<kConj>(x);
  if constexpr (P == 4) {
#pragma unroll
    for (int i = 0; i < 16; i += 4) dft4<kConj>(x[i], x[i + 1], x[i + 2], x[i + 3]);
  }
  if constexpr (P == 2) {
    constexpr float kHalf = 0.70710678118654752f;
#pragma unroll
    for (int i = 0; i < 16; i += 8) {
      dft4<kConj>(x[i], x[i + 2], x[i + 4], x[i + 6]);
      dft4<kConj>(x[i + 1], x[i + 3], x[i + 5], x[i + 7]);
      const float2 odd[4] = {x[i + 1], x[i + 3] * float2{kHalf, kConj ? kHalf : -kHalf}, quarter<kConj>(x[i + 5]),
                             x[i + 7] * float2{-kHalf, kConj ? kHalf : -kHalf}};
      const float2 even[4] = {x[i], x[i + 2], x[i + 4], x[i + 6]};
#pragma unroll
      for (int k = 0; k < 4; ++k) x[i + k] = even[k] + odd[k], x[i + k + 4] = even[k] - odd[k];
    }
  }
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

/// Walks over e(first + n step): sines and cosines cost more than all else here.
struct Turn {
  float2 now, step;

  __device__ __forceinline__ Turn(float first, float by) : now(unit(first)), step(unit(by)) {}
  __device__ __forceinline__ float2 next() {
    const float2 turned = now;
    now = now * step;
    return turned;
  }
};

/// Calls f(k, e(-+ (k - 1/4) (256 a + m) / (4096 R / P))), k of each of P parts: what lies between the outer stage and
/// the others, but for s.
template <int R, int P, bool kConj, class F>
__device__ __forceinline__ void for_outer_twiddles(int a, int m, const F& f) {
  const float angle = (kConj ? 1.0f : -1.0f) * static_cast<float>(256 * a + m) / (4096 * R / P);
  const Turn first(-0.25f * angle, angle);
  Turn turn = first;
#pragma unroll
  for (int k = 0; k < 16; ++k) {
    if (k % (16 / P) == 0) turn = first;
    f(k, turn.next());
  }
}
/// What b puts into the twist.
template <int P>
__device__ __forceinline__ float2 twist(int b) {
  constexpr float kCos[17] = {1.0f,         0.995184727f, 0.98078528f,  0.956940336f,  0.923879533f, 0.881921264f,
                              0.831469612f, 0.773010453f, 0.707106781f, 0.634393284f,  0.555570233f, 0.471396737f,
                              0.382683432f, 0.290284677f, 0.195090322f, 0.0980171403f, 0.0f};  // of 64
  const int n = b % (16 / P) * P;
  return {kCos[n], kCos[16 - n]};
}

/// Taps of all channels, or none.
struct Taps {
  float* data = nullptr;
  int64_t channel = 0, tap = 0;
  int count = 0;

  Taps() = default;
  explicit Taps(const View& view) {
    if (!view) return;
    data = view.ptr<float>(), channel = view.stride[0], count = 1;
    if (view.shape.rank == 2) tap = view.stride[1], count = static_cast<int>(view.size(1));
  }
  __device__ __forceinline__ float& at(int64_t d, int n) const { return data[d * channel + n * tap]; }
};

struct FilterArgs {
  Taps k, reverse, skip;
  bool circular;
  int length;
  int64_t channels;
  uint4* values;
  float* scale;

  /// h of channel d.
  template <bool kTwoSided>
  __device__ __forceinline__ float weight(int64_t d, int lag) const {
    float sum = 0;
    if constexpr (kTwoSided) {
      const auto add = [&](const Taps& taps, int n) {
        if (circular && n < 0) n += length;
        for (; 0 <= n && n < taps.count; n += length) sum += taps.at(d, n);
      };
      if (abs(lag) >= length) return 0;
      add(k, lag), add(reverse, -lag);
    } else if (0 <= lag && lag < k.count) {
      sum = k.at(d, lag);
    }
    return lag == 0 && skip.count > 0 ? sum + skip.at(d, 0) : sum;
  }
};

template <int R, int C, int P, bool kTwoSided>
__global__ void __launch_bounds__(256 * R, 4 / R) filter_kernel(const __grid_constant__ FilterArgs args) {
  using E = Exchange<R>;
  constexpr int kLags = E::kPoints / P, Q = 16 / P;
  constexpr int kFirst = kTwoSided ? 1 - C : 0, kParts = C - kFirst;
  extern __shared__ __align__(16) float2 points[];
  __shared__ float largest[E::kThreads / 32];
  __shared__ int exponents[kParts];  // each part is written with a scale of its own at first
  const int thread = threadIdx.x;
  const int k1 = thread / 16, position = thread % 16;
  const int64_t first = P * static_cast<int64_t>(blockIdx.x), d = first + row_of<P>(k1);
  uint4* const values =
      args.values + d * (kParts * 1024 * R / P) + (2 * within_row<P>(k1) + position / 8) * 32 + position % 8 * 4;
  int common = 0;
#pragma unroll 1
  for (int part = 0; part < kParts; ++part) {
    float2 x[16];
    {
      const int m = thread % 256, a = thread / 256;
#pragma unroll
      for (int b = 0; b < 16; ++b) {
        const int n = (kFirst + part) * kLags + 256 * (R * (b % Q) + a) + m;
        const int64_t channel = first + b / Q;
        float weight = 0, wrapped = 0;
        if (P == 1 || channel < args.channels) {
          weight = args.weight<kTwoSided>(channel, n);
          if (kTwoSided || part > 0) wrapped = args.weight<kTwoSided>(channel, n - kLags);
        }
        x[b] = float2{weight, -wrapped} * twist<P>(b);
      }
      dfts<P, false>(x);
      if (part > 0) __syncthreads();
      for_outer_twiddles<R, P, false>(a, m,
                                      [&](int k, float2 twiddle) { points[E::wide(16 * a + k, m)] = x[k] * twiddle; });
    }
    __syncthreads();
    {
      const int n3 = thread % 16, k = k1 % 16, s = k1 / 16;
      Turn of_s(-static_cast<float>(s * n3) / (256 * R), -static_cast<float>(s) / (16 * R));
#pragma unroll
      for (int n2 = 0; n2 < 16; ++n2) {
        const int m = 16 * n2 + n3;
        x[n2] = points[E::wide(k, m)];
        if constexpr (R > 1) {
#pragma unroll
          for (int a = 1; a < R; ++a) {
            x[n2] = x[n2] + points[E::wide(16 * a + k, m)] * unit(-static_cast<float>(s * a) / R);
          }
          x[n2] = x[n2] * of_s.next();
        }
      }
      dft16<false>(x);
      __syncthreads();
      Turn turn(0, -static_cast<float>(n3) / 256);
#pragma unroll
      for (int k2 = 0; k2 < 16; ++k2) points[E::narrow(k1, k2, n3)] = x[k2] * turn.next();
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
    for (int warp = 0; warp < E::kThreads / 32 / P; ++warp) {  // those of this thread's channel
      most = fmaxf(most, largest[row_of<P>(k1) * (Q / 2) + warp]);
    }
    // The next power of two above, within what its inverse and products with rows' scales can take.
    const int exponent = min(max(static_cast<int>(__float_as_uint(most) >> 23) + 1, 64), 190);
    if (thread == 0) exponents[part] = exponent;
    common = max(common, exponent);
    const float scale = __uint_as_float(static_cast<uint32_t>(254 - exponent) << 23);
    if (P > 1 && d >= args.channels) return;
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
  if (thread % (E::kThreads / P) == 0) args.scale[d] = __uint_as_float(static_cast<uint32_t>(common) << 23);
  if constexpr (kParts == 1) return;
  __syncthreads();
  for (int part = 0; part < kParts; ++part) {
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
  Taps dk, dk_reverse, dskip;
  bool accumulate_k, accumulate_k_reverse, accumulate_skip, circular;
  int length;
  int64_t channels;
};

// Block (d, c) takes the c-th of C parts of channel d: what reaches h_c is the real part of P_c + i P_(c+1), and what
// reaches h_(-1) the negative imaginary part of P_0.
template <int R, int C, int P>
__global__ void __launch_bounds__(256 * R, 4 / R) gradient_kernel(const __grid_constant__ GradientArgs args) {
  using E = Exchange<R>;
  constexpr int kLags = E::kPoints / P;
  extern __shared__ __align__(16) float2 points[];
  const int thread = threadIdx.x, c = blockIdx.y;
  const int64_t first_channel = P * static_cast<int64_t>(blockIdx.x);
  __shared__ int64_t parts[P][2];  // of each channel, the first and where they end
  if (thread < P) {
    const Segments& segments = args.segments;
    const int64_t first = (first_channel + thread) * segments.batches;
    int64_t part = segments.part_of(first);
    parts[thread][0] = part;
    if (first_channel + thread < args.channels) {
      while (segments.begin(part) < first + segments.batches) ++part;
    }
    parts[thread][1] = part;
  }
  __syncthreads();
  float2 x[16];
  {
    const int k1 = thread / 16, position = thread % 16, row = within_row<P>(k1);
    const int of_block = row_of<P>(k1);
    const int64_t d = first_channel + of_block;
#pragma unroll
    for (int i = 0; i < 16; ++i) x[i] = {0, 0};
    for (int64_t part = parts[of_block][0]; part < parts[of_block][1]; ++part) {
      const float4* sums =
          args.sums + ((d + part) * C + c) * (2048 * R / P) + (4 * row + position / 8 * 2) * 32 + position % 8 * 4;
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
    Turn turn(0, static_cast<float>(k2) / 256);
#pragma unroll
    for (int n3 = 0; n3 < 16; ++n3) points[E::narrow(k1, k2, n3)] = x[n3] * turn.next();
  }
  __syncthreads();
  {
    const int k1 = thread / 16, n3 = thread % 16, s = k1 / 16;
#pragma unroll
    for (int k2 = 0; k2 < 16; ++k2) x[k2] = points[E::narrow(k1, k2, n3)];
    dft16<true>(x);
    __syncthreads();
    Turn of_s(static_cast<float>(s * n3) / (256 * R), static_cast<float>(s) / (16 * R));
#pragma unroll
    for (int n2 = 0; n2 < 16; ++n2) {
      const int m = 16 * n2 + n3;
      points[E::wide(k1, m)] = R > 1 ? x[n2] * of_s.next() : x[n2];
    }
  }
  __syncthreads();
  const int m = thread % 256, a = thread / 256;
  for_outer_twiddles<R, P, true>(a, m, [&](int k, float2 twiddle) {
    float2 sum = points[E::wide(k, m)];
#pragma unroll
    for (int s = 1; s < R; ++s) sum = sum + points[E::wide(16 * s + k, m)] * unit(static_cast<float>(s * a) / R);
    x[k] = sum * twiddle;
  });
  dfts<P, true>(x);
  __syncthreads();
#pragma unroll
  for (int b = 0; b < 16; ++b) {
    const float2 untwisted = x[b] * conj(twist<P>(b));
    // The spectra carry 4^-6, their product that of both stages forward; the inverse asks for 1 / (4096 R).
    points[256 * (R * b + a) + m] = {untwisted.x * (1.0f / R), untwisted.y * (1.0f / R)};
  }
  __syncthreads();
  const int start = c * kLags;
  for (int p = 0; p < P && first_channel + p < args.channels; ++p) {
    const float2* const of_channel = points + p * kLags;
    const auto gradient = [&](int lag) {
      if (abs(lag) >= args.length) return 0.0f;
      return lag >= 0 ? of_channel[lag - start].x : -of_channel[lag + kLags].y;
    };
    const auto write = [&](const Taps& taps, bool accumulate, int sign) {
      for (int n = start + thread; n < (c + 1 < C ? min(taps.count, start + kLags) : taps.count); n += E::kThreads) {
        const int lag = sign * (args.circular ? n % args.length : n);
        float value = gradient(lag);
        if (args.circular && lag != 0) value += gradient(lag - sign * args.length);
        float& out = taps.at(first_channel + p, n);
        out = accumulate ? out + value : value;
      }
    };
    write(args.dk, args.accumulate_k, 1);
    if constexpr (C == 1) write(args.dk_reverse, args.accumulate_k_reverse, -1);
    if (c == 0) write(args.dskip, args.accumulate_skip, 1);
  }
}

template <class Kernel>
void allow_shared(Kernel* kernel, size_t bytes) {
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

}  // namespace

template <int R, int C, int P>
void transform_filters(Stream& stream, const Filters& filters, uint4* values, float* scale) {
  FilterArgs args{.k = Taps(filters.k),
                  .reverse = Taps(filters.reverse),
                  .skip = Taps(filters.skip),
                  .circular = filters.form == ConvForm::circular,
                  .length = static_cast<int>(filters.length),
                  .channels = filters.k.size(0),
                  .values = values,
                  .scale = scale};
  for (Taps* taps : {&args.k, &args.reverse}) {
    if (!args.circular) taps->count = std::min(taps->count, args.length);
  }
  const auto launch = [&](auto* kernel) {
    allow_shared(kernel, Exchange<R>::kBytes);
    const unsigned blocks = exact_grid(ceil_div(filters.k.size(0), P));
    kernel<<<blocks, Exchange<R>::kThreads, Exchange<R>::kBytes, native(stream)>>>(args);
    launched("fft_conv: transform_filters");
  };
  filters.two_sided() ? launch(filter_kernel<R, C, P, true>) : launch(filter_kernel<R, C, P, false>);
}

template <int R, int C, int P>
void transform_gradients(Stream& stream, const float4* sums, const Segments& segments, const FftConvBackward& call) {
  const GradientArgs args{.sums = sums,
                          .segments = segments,
                          .dk = Taps(call.dk),
                          .dk_reverse = Taps(call.dk_reverse),
                          .dskip = Taps(call.dskip),
                          .accumulate_k = call.accumulate_k,
                          .accumulate_k_reverse = call.accumulate_k_reverse,
                          .accumulate_skip = call.accumulate_skip,
                          .circular = call.form == ConvForm::circular,
                          .length = static_cast<int>(call.u.size(2)),
                          .channels = call.u.size(0)};
  allow_shared(gradient_kernel<R, C, P>, Exchange<R>::kBytes);
  const dim3 grid(exact_grid(ceil_div(call.u.size(0), P)), C);
  gradient_kernel<R, C, P><<<grid, Exchange<R>::kThreads, Exchange<R>::kBytes, native(stream)>>>(args);
  launched("fft_conv: transform_gradients");
}

template void transform_filters<1, 1>(Stream&, const Filters&, uint4*, float*);
template void transform_filters<1, 1, 2>(Stream&, const Filters&, uint4*, float*);
template void transform_filters<1, 1, 4>(Stream&, const Filters&, uint4*, float*);
template void transform_filters<2, 1>(Stream&, const Filters&, uint4*, float*);
template void transform_filters<2, 2>(Stream&, const Filters&, uint4*, float*);
template void transform_filters<2, 4>(Stream&, const Filters&, uint4*, float*);
template void transform_gradients<1, 1>(Stream&, const float4*, const Segments&, const FftConvBackward&);
template void transform_gradients<1, 1, 2>(Stream&, const float4*, const Segments&, const FftConvBackward&);
template void transform_gradients<1, 1, 4>(Stream&, const float4*, const Segments&, const FftConvBackward&);
template void transform_gradients<2, 1>(Stream&, const float4*, const Segments&, const FftConvBackward&);
template void transform_gradients<2, 2>(Stream&, const float4*, const Segments&, const FftConvBackward&);
template void transform_gradients<2, 4>(Stream&, const float4*, const Segments&, const FftConvBackward&);

}  // namespace mara::kernels::cuda
