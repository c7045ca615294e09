// Transforms of filters and of their gradients for long convolutions in three phases, in f32 on CUDA cores. See
// fft_conv_long.cuh; phases that cancel do not appear here.
//
// Bound by memory: 8 bytes a point of scratch between the outer and the inner transform. A block transforms some
// columns m, or some rows r, in shared memory; a reversed filter enters as the imaginary part that a lag below zero is.

#include "kernels/cuda/dft16.cuh"
#include "kernels/cuda/fft_conv_long.cuh"

namespace mara::kernels::cuda::long_rows {
namespace {

/// Transforms of 256 Q points in shared memory, point n of C of them side by side, by 16 Q C threads.
template <int Q>
struct Block {
  static constexpr int kColumns = Q == 4 ? 8 : 16, kPitch = kColumns + 1, kThreads = 16 * Q * kColumns;
  static constexpr size_t kBytes = sizeof(float2) * 256 * Q * kPitch;

  /// sum_n e(-f n / (256 Q)) x[n] at place(f). Begins and ends with a barrier.
  __device__ static void transform(float2* points) {
    const int column = threadIdx.x % kColumns, u = threadIdx.x / kColumns;
    const auto at = [&](int index) -> float2& { return points[index * kPitch + column]; };
    float2 x[16];
    __syncthreads();
    {
      const int nb = u % 16, a = u / 16;
#pragma unroll
      for (int na = 0; na < 16; ++na) x[na] = at(16 * (Q * na + a) + nb);
      dft16<false>(x);
      const float2 step = unit(-static_cast<float>(16 * a + nb) / (256 * Q));
      float2 twiddle{1, 0};
#pragma unroll
      for (int k = 0; k < 16; ++k) {
        at(16 * (Q * k + a) + nb) = x[k] * twiddle;
        twiddle = twiddle * step;
      }
    }
    __syncthreads();
    const int s = u % Q, k = u / Q;
    const float2 turn = unit(-static_cast<float>(s) / Q), step = unit(-static_cast<float>(s) / (16 * Q));
    float2 twiddle{1, 0};
#pragma unroll
    for (int nb = 0; nb < 16; ++nb) {
      x[nb] = at(16 * (Q * k + Q - 1) + nb);
#pragma unroll
      for (int a = Q - 2; a >= 0; --a) x[nb] = x[nb] * turn + at(16 * (Q * k + a) + nb);
      if constexpr (Q > 1) {
        x[nb] = x[nb] * twiddle;
        twiddle = twiddle * step;
      }
    }
    dft16<false>(x);
    __syncthreads();
#pragma unroll
    for (int kb = 0; kb < 16; ++kb) at(16 * (Q * k + s) + kb) = x[kb];
    __syncthreads();
  }
  __device__ static int place(int f) { return 16 * (Q * (f % 16) + f / 16 % Q) + f / (16 * Q); }
};

struct FilterArgs {
  Taps taps;
  Radices radices;
  int length;  // of the rows
  int64_t first;
  float2* scratch;  // (channel, r, m)
  Spectra spectra;
  float4* sums;

  __device__ float2* row(int channel, int r) const {
    return scratch + (static_cast<int64_t>(channel) * radices.rows() + r) * radices.columns();
  }
};

/// The filters as complex points: a lag of -j is -i times one of points - j.
__device__ __forceinline__ float2 gather(const FilterArgs& args, int64_t d, int n) {
  const Taps& taps = args.taps;
  const int back = n == 0 ? 0 : static_cast<int>(args.radices.points()) - n;
  float2 value{n < min(taps.taps, args.length) ? taps.k[d * taps.k_channel + n * taps.k_tap] : 0.0f, 0.0f};
  const float reversed = back < min(taps.taps_reverse, args.length)
                             ? taps.k_reverse[d * taps.k_reverse_channel + back * taps.k_reverse_tap]
                             : 0.0f;
  if (n > 0) {
    value.y = -reversed;
  } else {
    value.x += reversed + (taps.skip != nullptr ? taps.skip[d * taps.skip_channel] : 0.0f);
  }
  return value;
}

// The outer transform of columns.
template <int Q>
__global__ void __launch_bounds__(Block<Q>::kThreads) outer_kernel(const __grid_constant__ FilterArgs args) {
  using B = Block<Q>;
  extern __shared__ __align__(16) float2 points[];
  let_next_start();
  wait_for_last();
  const int channel = blockIdx.y, columns = args.radices.columns();
  const int64_t d = args.first + channel;
  const int c = threadIdx.x % B::kColumns, m = blockIdx.x * B::kColumns + c;
  if (blockIdx.x == 0 && threadIdx.x == 0) args.spectra.largest[d] = 0;
  float2 twist = unit(static_cast<float>(threadIdx.x / B::kColumns) / (1024 * Q));
  const float2 step = unit(1.0f / 64);  // of 16 Q rows
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int n1 = threadIdx.x / B::kColumns + 16 * Q * i;
    points[n1 * B::kPitch + c] = gather(args, d, n1 * columns + m) * twist;
    twist = twist * step;
  }
  B::transform(points);
  float2* const out = args.row(channel, 0) + m;
#pragma unroll 8
  for (int i = 0; i < 16; ++i) {
    const int r = threadIdx.x / B::kColumns + 16 * Q * i;
    out[r * columns] = points[B::place(outer_frequency(Q, r)) * B::kPitch + c];
  }
}

/// Frequency kk of a place in a tile of s.
template <int Q>
__device__ __forceinline__ int inner_frequency(int s, int row, int column) {
  return s + Q * (natural(row) + 16 * natural(column));
}
__device__ __forceinline__ float shift(const Radices& q, int r) {
  return (static_cast<float>(outer_frequency(q.outer, r)) - 0.25f) / static_cast<float>(q.rows());
}

// The inner transform of rows, written as tiles.
template <int Q>
__global__ void __launch_bounds__(Block<Q>::kThreads) inner_kernel(const __grid_constant__ FilterArgs args) {
  using B = Block<Q>;
  extern __shared__ __align__(16) float2 points[];
  let_next_start();
  wait_for_last();
  __shared__ uint32_t most[B::kColumns];
  const int channel = blockIdx.y, r0 = blockIdx.x * B::kColumns;
  const int64_t d = args.first + channel;
  if (threadIdx.x < B::kColumns) most[threadIdx.x] = 0;
  const float2* const from = args.row(channel, r0);
  for (int m = threadIdx.x; m < 256 * Q; m += B::kThreads) {
    float2 twiddle = unit(-shift(args.radices, r0) * static_cast<float>(m) / (256 * Q));
    const float2 step = unit(-static_cast<float>(m) / (4096 * Q));  // of a row
#pragma unroll
    for (int c = 0; c < B::kColumns; ++c) {
      points[m * B::kPitch + c] = from[c * (256 * Q) + m] * twiddle;
      twiddle = twiddle * step;
    }
  }
  B::transform(points);
  uint32_t largest = 0;  // of column c, for the threads that have it
  const int own = threadIdx.x % B::kColumns;
  for (int n = threadIdx.x / B::kColumns; n < 256 * Q; n += 16 * Q) {
    const float2 x = points[n * B::kPitch + own];
    largest = max(largest, __float_as_uint(fmaxf(fabsf(x.x), fabsf(x.y))));
  }
  atomicMax(&most[own], largest);
  __syncthreads();
  // The next power of two above, within what its inverse and products with rows' scales can take.
  const auto exponent = [&](int c) { return min(max(static_cast<int>(most[c] >> 23) + 1, 64), 190); };
  if (threadIdx.x < B::kColumns) {
    args.spectra.exponents[d * args.radices.rows() + r0 + threadIdx.x] = exponent(threadIdx.x);
    atomicMax(&args.spectra.largest[d], exponent(threadIdx.x));
  }
  for (int i = threadIdx.x; i < 64 * Q * B::kColumns; i += B::kThreads) {
    const int c = i / (64 * Q), place = i % (64 * Q);  // (2 s + h) 32 + lane
    const int s = place / 64, row = place % 32 / 4 + place / 32 % 2 * 8, t = place % 4;
    const float scale = __uint_as_float(static_cast<uint32_t>(254 - exponent(c)) << 23);
    float2 x[4];  // columns 2 t, 2 t + 1, 8 + 2 t, 9 + 2 t
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int f = inner_frequency<Q>(s, row, 2 * t + j % 2 + j / 2 * 8);
      const float2 value = points[B::place(f) * B::kPitch + c];
      x[j] = {value.x * scale, value.y * scale};
    }
    args.spectra.values[(d * args.radices.rows() + r0 + c) * (64 * Q) + place] = {
        pack_halves(x[0].x, x[1].x), pack_halves(x[2].x, x[3].x), pack_halves(x[0].y, x[1].y),
        pack_halves(x[2].y, x[3].y)};
  }
}

// Back: transforms of conjugates are conjugates of inverse transforms.
template <int Q>
__global__ void __launch_bounds__(Block<Q>::kThreads) inner_back_kernel(const __grid_constant__ FilterArgs args) {
  using B = Block<Q>;
  extern __shared__ __align__(16) float2 points[];
  let_next_start();
  wait_for_last();
  const int channel = blockIdx.y, r0 = blockIdx.x * B::kColumns;
  const int64_t d = args.first + channel;
  for (int i = threadIdx.x; i < 64 * Q * B::kColumns; i += B::kThreads) {
    const int c = i / (64 * Q), place = i % (64 * Q);
    const int s = place / 64, h = place / 32 % 2, lane = place % 32, t = lane % 4;
    const float4* const tile = args.sums + (d * args.radices.rows() + r0 + c) * (128 * Q) + (4 * s + 2 * h) * 32 + lane;
    const float4 re = tile[0], im = tile[32];
    const float2 x[4] = {{re.x, im.x}, {re.y, im.y}, {re.z, im.z}, {re.w, im.w}};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int f = inner_frequency<Q>(s, lane / 4 + 8 * h, 2 * t + j % 2 + j / 2 * 8);
      points[f * B::kPitch + c] = conj(x[j]);
    }
  }
  B::transform(points);
  float2* const out = args.row(channel, r0);
  for (int m = threadIdx.x; m < 256 * Q; m += B::kThreads) {
    float2 twiddle = unit(shift(args.radices, r0) * static_cast<float>(m) / (256 * Q));
    const float2 step = unit(static_cast<float>(m) / (4096 * Q));  // of a row
#pragma unroll
    for (int c = 0; c < B::kColumns; ++c) {
      out[c * (256 * Q) + m] = conj(points[B::place(m) * B::kPitch + c]) * twiddle;
      twiddle = twiddle * step;
    }
  }
}

template <int Q>
__global__ void __launch_bounds__(Block<Q>::kThreads)
    outer_back_kernel(const __grid_constant__ FilterArgs args, float scale) {
  using B = Block<Q>;
  extern __shared__ __align__(16) float2 points[];
  let_next_start();
  wait_for_last();
  const int channel = blockIdx.y, columns = args.radices.columns();
  const int64_t d = args.first + channel;
  const int c = threadIdx.x % B::kColumns, m = blockIdx.x * B::kColumns + c;
  const float2* const from = args.row(channel, 0) + m;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    const int r = threadIdx.x / B::kColumns + 16 * Q * i;
    points[outer_frequency(Q, r) * B::kPitch + c] = conj(from[r * columns]);
  }
  B::transform(points);
  const Taps& out = args.taps;
  const int size = static_cast<int>(args.radices.points());
  const auto put = [](float& to, float value, bool accumulate) { to = accumulate ? to + value : value; };
  float2 twist = unit(-static_cast<float>(threadIdx.x / B::kColumns) / (1024 * Q));
  const float2 step = unit(-1.0f / 64);  // of 16 Q rows
#pragma unroll 4
  for (int i = 0; i < 16; ++i) {
    const int n1 = threadIdx.x / B::kColumns + 16 * Q * i;
    const int n = n1 * columns + m, back = n == 0 ? 0 : size - n;
    const float2 z = conj(points[B::place(n1) * B::kPitch + c]) * twist;
    twist = twist * step;
    const float ahead = n < args.length ? z.x * scale : 0.0f;
    if (n < out.taps) put(out.k[d * out.k_channel + n * out.k_tap], ahead, out.accumulate);
    if (back < out.taps_reverse) {
      const float behind = n == 0 ? ahead : back < args.length ? -z.y * scale : 0.0f;
      put(out.k_reverse[d * out.k_reverse_channel + back * out.k_reverse_tap], behind, out.accumulate_reverse);
    }
    if (n == 0 && out.skip != nullptr) put(out.skip[d * out.skip_channel], ahead, out.accumulate_skip);
  }
  const int thread = blockIdx.x * B::kThreads + threadIdx.x, threads = gridDim.x * B::kThreads;
  for (int n = size + thread; n < out.taps && !out.accumulate; n += threads) {
    out.k[d * out.k_channel + n * out.k_tap] = 0;
  }
  for (int n = size + thread; n < out.taps_reverse && !out.accumulate_reverse; n += threads) {
    out.k_reverse[d * out.k_reverse_channel + n * out.k_reverse_tap] = 0;
  }
}

}  // namespace

void transform_filters(Stream& stream, const Taps& taps, const Radices& radices, int64_t length, int64_t first,
                       int channels, float2* scratch, const Spectra& spectra) {
  const FilterArgs args{taps, radices, static_cast<int>(length), first, scratch, spectra, nullptr};
  with_radix(radices.outer, [&]<int Q>() {
    using B = Block<Q>;
    launch(stream, outer_kernel<Q>, dim3(radices.columns() / B::kColumns, channels), B::kThreads, B::kBytes, args);
  });
  launched("fft_conv: transform long filters, outer");
  with_radix(radices.inner, [&]<int Q>() {
    using B = Block<Q>;
    launch(stream, inner_kernel<Q>, dim3(radices.rows() / B::kColumns, channels), B::kThreads, B::kBytes, args);
  });
  launched("fft_conv: transform long filters, inner");
}

void transform_gradients(Stream& stream, const GradientSums& sums, const Radices& radices, int64_t length,
                         int64_t first, int channels, float2* scratch, const Taps& gradients) {
  const FilterArgs args{gradients, radices, static_cast<int>(length), first, scratch, {}, sums.values};
  with_radix(radices.inner, [&]<int Q>() {
    using B = Block<Q>;
    launch(stream, inner_back_kernel<Q>, dim3(radices.rows() / B::kColumns, channels), B::kThreads, B::kBytes, args);
  });
  launched("fft_conv: transform long gradients, inner");
  with_radix(radices.outer, [&]<int Q>() {
    using B = Block<Q>;
    launch(stream, outer_back_kernel<Q>, dim3(radices.columns() / B::kColumns, channels), B::kThreads, B::kBytes, args,
           inverse_scale(radices));
  });
  launched("fft_conv: transform long gradients, outer");
}

}  // namespace mara::kernels::cuda::long_rows
