// Transforms of filters and of their gradients for long convolutions in three phases, in f32 on CUDA cores. See
// fft_conv_long.cuh; phases that cancel do not appear here.
//
// Bound by instructions, about 50 a point each way, and by the 8 bytes a point of scratch between the outer and the
// inner transform, which stay in the L2 cache. A thread reads 16 points from where they are and writes 16 frequencies
// to where they go; only between the two transforms of 16 data pass through shared memory. A reversed filter enters as
// the imaginary part that a lag below zero is.

#include <limits>

#include "kernels/cuda/dft16.cuh"
#include "kernels/cuda/fft_conv_long.cuh"

namespace mara::kernels::cuda::long_rows {
namespace {

/// e(i / N).
template <int N>
struct Turns {
  float2 at[16];

  constexpr Turns() : at() {
    // Of 1 / 64, N a power of two up to that.
    double re = 0.99518472667219688624, im = 0.098017140329560601994;
    for (int n = 64; n > N; n /= 2) {
      const double square = re * re - im * im;
      im = 2 * re * im, re = square;
    }
    double x = 1, y = 0;
    for (float2& turn : at) {
      turn.x = static_cast<float>(x), turn.y = static_cast<float>(y);
      const double next = x * re - y * im;
      y = x * im + y * re, x = next;
    }
  }
};

/// x[i] of thread u of 16 Q: from points n = u + 16 Q i to sum_n e(-f n / (256 Q)) e(-shift u / (256 Q)) x_n of
/// f = u + 16 Q i. Data change hands at(a, k, nb) in shared memory.
template <int Q, class Place>
__device__ __forceinline__ void transform(float2 (&x)[16], int u, float shift, const Place& at) {
  dft16<false>(x);
  {
    const int nb = u % 16, a = u / 16;
    const float2 step = unit(-static_cast<float>(u) / (256 * Q));
    float2 twiddle = unit(-shift * static_cast<float>(u) / (256 * Q));
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      at(a, k, nb) = x[k] * twiddle;
      twiddle = twiddle * step;
    }
  }
  __syncthreads();
  const int k = u % 16, s = u / 16;
  if constexpr (Q == 2) {
    const float sign = s == 0 ? 1 : -1;
#pragma unroll
    for (int nb = 0; nb < 16; ++nb) {
      const float2 even = at(0, k, nb), odd = at(1, k, nb);
      x[nb] = {fmaf(odd.x, sign, even.x), fmaf(odd.y, sign, even.y)};
    }
    if (s == 1) {
      constexpr Turns<32> kTurns;
#pragma unroll
      for (int nb = 1; nb < 16; ++nb) x[nb] = x[nb] * conj(kTurns.at[nb]);
    }
  } else {
    const float2 turn = unit(-static_cast<float>(s) / Q), step = unit(-static_cast<float>(s) / (16 * Q));
    float2 twiddle{1, 0};
#pragma unroll
    for (int nb = 0; nb < 16; ++nb) {
      x[nb] = at(Q - 1, k, nb);
#pragma unroll
      for (int a = Q - 2; a >= 0; --a) x[nb] = x[nb] * turn + at(a, k, nb);
      if constexpr (Q > 1) {
        x[nb] = x[nb] * twiddle;
        twiddle = twiddle * step;
      }
    }
  }
  dft16<false>(x);
}

/// A block of outer transforms, C columns side by side: their threads, and shared memory.
template <int Q>
struct Columns {
  static constexpr int kCount = Q == 4 ? 8 : 16, kThreads = 16 * Q * kCount;
  static constexpr int kOfK = 16 * kCount + kCount % 16, kOfA = 16 * kOfK;
  static constexpr size_t kBytes = sizeof(float2) * Q * kOfA;
  int c, u;

  __device__ Columns() : c(threadIdx.x % kCount), u(threadIdx.x / kCount) {}
  __device__ void transform(float2 (&x)[16], float shift, float2* points) const {
    long_rows::transform<Q>(x, u, shift, [points = points + c](int a, int k, int nb) -> float2& {
      return points[a * kOfA + k * kOfK + nb * kCount];
    });
  }
};

/// A block of inner transforms, rows one after the other.
template <int Q>
struct Lines {
  static constexpr int kThreads = 256, kCount = 16 / Q, kOfK = 17, kOfA = 16 * kOfK;
  static constexpr size_t kBytes = sizeof(float2) * kCount * Q * kOfA;
  int c, u;

  __device__ Lines() : c(threadIdx.x / (16 * Q)), u(threadIdx.x % (16 * Q)) {}
  __device__ void transform(float2 (&x)[16], float shift, float2* points) const {
    long_rows::transform<Q>(x, u, shift, [points = points + c * Q * kOfA](int a, int k, int nb) -> float2& {
      return points[a * kOfA + k * kOfK + nb];
    });
  }
  /// The frequencies u + 16 Q i are row w of tile s, w and i in the order of `natural`: lanes 4 g + t of half h have
  /// i = 4 t + j.
  __device__ int tile() const { return u % Q; }
  __device__ int half() const { return u / Q >> 1 & 1; }
  __device__ int first_lane() const {
    const int w = u / Q;
    return 4 * ((w >> 1 & 6) | (w & 1));
  }
};

struct FilterArgs {
  Taps taps;
  Radices radices;
  int length;  // of the rows
  int64_t first;
  int index;        // of the part
  float2* scratch;  // (channel, r, m)
  Spectra spectra;
  GradientSums sums;
  FilterParts parts;

  __device__ float2* row(int channel, int r) const {
    return scratch + (static_cast<int64_t>(channel) * radices.rows() + r) * radices.columns();
  }
  __device__ int part() const { return parts.first + index; }
};

/// Taps of the lags n + part P for 0 <= n < P: at from[n step], for n in [begin, end).
struct Span {
  float* from;
  int64_t step;
  int begin, end;

  /// Of those with lags up to `most`.
  __device__ Span(const FilterArgs& args, int64_t d, int part, int most) {
    const Taps& taps = args.taps;
    const int start = part * static_cast<int>(args.radices.points());
    if (part >= 0) {
      step = taps.k_tap, from = taps.k + d * taps.k_channel + start * step;
      begin = 0, end = min(taps.taps, most) - start;
    } else {
      step = -taps.k_reverse_tap, from = taps.k_reverse + d * taps.k_reverse_channel + start * step;
      begin = 1 - start - min(taps.taps_reverse, most), end = static_cast<int>(args.radices.points());
    }
  }
  __device__ bool empty() const { return begin >= end; }
  __device__ bool has(int n) const { return n >= begin && n < end; }
  /// Calls body(i, n, place of n) for n = first + i stride, i < 16.
  template <class Body>
  __device__ __forceinline__ void for_each(int first, int stride, const Body& body) const {
    float* at = from + first * step;
    const int64_t by = stride * step;
#pragma unroll
    for (int i = 0; i < 16; ++i, at += by) body(i, first + i * stride, at);
  }
};

// The outer transform of columns of R(k_p - i k_(p-1)): the twist e(n1 / (4 N1)) is a shift by -1/4 and e(i / 64).
template <int Q>
__global__ void __launch_bounds__(Columns<Q>::kThreads, 1024 / Columns<Q>::kThreads)
    outer_kernel(const __grid_constant__ FilterArgs args) {
  constexpr Turns<64> kTurns;
  extern __shared__ __align__(16) float2 points[];
  let_next_start();
  wait_for_last();
  const Columns<Q> block;
  const int channel = blockIdx.y, columns = args.radices.columns(), m = blockIdx.x * block.kCount + block.c;
  const int64_t d = args.first + channel;
  if (args.index == 0 && blockIdx.x == 0 && threadIdx.x == 0) args.spectra.largest_of(d) = 0;
  const Span ahead(args, d, args.part(), args.length), behind(args, d, args.part() - 1, args.length);
  const int first = block.u * columns + m, stride = 16 * Q * columns;
  float2 x[16];
  ahead.for_each(first, stride, [&](int i, int n, const float* at) {
    const float value = ahead.has(n) ? __ldcs(at) : 0.0f;
    x[i] = {value * kTurns.at[i].x, value * kTurns.at[i].y};
  });
  if (!behind.empty()) {
    behind.for_each(first, stride, [&](int i, int n, const float* at) {
      const float value = behind.has(n) ? __ldcs(at) : 0.0f;
      x[i] = {fmaf(value, kTurns.at[i].y, x[i].x), fmaf(-value, kTurns.at[i].x, x[i].y)};
    });
  }
  if ((args.part() == 0 || args.part() == 1) && first == 0) {  // lag 0
    const Taps& taps = args.taps;
    const float more = (taps.k_reverse != nullptr ? taps.k_reverse[d * taps.k_reverse_channel] : 0.0f) +
                       (taps.skip != nullptr ? taps.skip[d * taps.skip_channel] : 0.0f);
    args.part() == 0 ? x[0].x += more : x[0].y -= more;
  }
  block.transform(x, -0.25f, points);
  float2* const out = args.row(channel, 16 * block.u) + m;
#pragma unroll
  for (int i = 0; i < 16; ++i) out[i * columns] = x[i];
}

// The inner transform of rows, written as tiles.
template <int Q>
__global__ void __launch_bounds__(Lines<Q>::kThreads, 4) inner_kernel(const __grid_constant__ FilterArgs args) {
  extern __shared__ __align__(16) float2 points[];
  __shared__ uint32_t most[Lines<Q>::kCount];
  __shared__ float2 twists[Lines<Q>::kCount][16];
  let_next_start();
  const Lines<Q> block;
  const int channel = blockIdx.y, r = blockIdx.x * block.kCount + block.c;
  const int64_t d = args.first + channel;
  if (threadIdx.x < block.kCount) most[threadIdx.x] = 0;
  const float by = inner_shift(args.radices, r);
  if (block.u < 16) twists[block.c][block.u] = unit(-by * static_cast<float>(block.u) / 16);
  wait_for_last();
  const float2* const from = args.row(channel, r) + block.u;
  float2 x[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) x[i] = from[16 * Q * i];
  __syncthreads();
#pragma unroll
  for (int i = 1; i < 16; ++i) x[i] = x[i] * twists[block.c][i];
  block.transform(x, by, points);
  float largest = 0;
#pragma unroll
  for (int i = 0; i < 16; ++i) largest = fmaxf(largest, fmaxf(fabsf(x[i].x), fabsf(x[i].y)));
  uint32_t bits = __float_as_uint(largest);
#pragma unroll
  for (int lanes = min(16 * Q, 32) / 2; lanes > 0; lanes /= 2) {
    bits = max(bits, __shfl_xor_sync(0xffffffffu, bits, lanes));
  }
  if (block.u % 32 == 0) atomicMax(&most[block.c], bits);
  __syncthreads();
  // The next power of two above, within what its inverse and products with rows' scales can take.
  const int exponent = min(max(static_cast<int>(most[block.c] >> 23) + 1, 64), 190);
  if (block.u == 0) {
    args.spectra.exponent(args.radices, d, r, args.index) = exponent;
    atomicMax(&args.spectra.largest_of(d), exponent);
  }
  const float scale = __uint_as_float(static_cast<uint32_t>(254 - exponent) << 23);
  uint4* const tile = args.spectra.tiles(args.radices, d, r, args.index) + (2 * block.tile() + block.half()) * 32;
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const float2* const four = x + 4 * t;
    tile[block.first_lane() + t] = {
        pack_halves(four[0].x * scale, four[1].x * scale), pack_halves(four[2].x * scale, four[3].x * scale),
        pack_halves(four[0].y * scale, four[1].y * scale), pack_halves(four[2].y * scale, four[3].y * scale)};
  }
}

// Back: transforms of conjugates are conjugates of inverse transforms.
template <int Q>
__global__ void __launch_bounds__(Lines<Q>::kThreads, 4) inner_back_kernel(const __grid_constant__ FilterArgs args) {
  extern __shared__ __align__(16) float2 points[];
  let_next_start();
  const Lines<Q> block;
  const int channel = blockIdx.y, r = blockIdx.x * block.kCount + block.c;
  const float by = inner_shift(args.radices, r);
  const float2 step = unit(-by / 16);
  wait_for_last();
  const float4* const tile = args.sums.tiles(args.radices, args.first + channel, r, args.index) +
                             (4 * block.tile() + 2 * block.half()) * 32 + block.first_lane();
  float2 x[16];
#pragma unroll
  for (int t = 0; t < 4; ++t) {
    const float4 re = __ldcs(tile + t), im = __ldcs(tile + 32 + t);
    x[4 * t] = {re.x, -im.x}, x[4 * t + 1] = {re.y, -im.y};
    x[4 * t + 2] = {re.z, -im.z}, x[4 * t + 3] = {re.w, -im.w};
  }
  block.transform(x, 0, points);
  float2* const out = args.row(channel, r) + block.u;
  float2 twist = unit(-by * static_cast<float>(block.u) / (256 * Q));
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    out[16 * Q * i] = conj(x[i] * twist);
    twist = twist * step;
  }
}

template <int Q>
__global__ void __launch_bounds__(Columns<Q>::kThreads, 1024 / Columns<Q>::kThreads)
    outer_back_kernel(const __grid_constant__ FilterArgs args, float scale) {
  constexpr Turns<64> kTurns;
  extern __shared__ __align__(16) float2 points[];
  let_next_start();
  wait_for_last();
  const Columns<Q> block;
  const int channel = blockIdx.y, columns = args.radices.columns(), m = blockIdx.x * block.kCount + block.c;
  const int64_t d = args.first + channel;
  const float2* const from = args.row(channel, 16 * block.u) + m;
  float2 x[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) x[i] = conj(from[i * columns]);
  block.transform(x, 0, points);

  // Each lag has the real part of its own part, added first, and the imaginary one of the next.
  const Taps& out = args.taps;
  float2 twist = unit(static_cast<float>(block.u) / (1024 * Q));
  twist = {twist.x * scale, twist.y * scale};
  const int first = block.u * columns + m, stride = 16 * Q * columns, part = args.part();
  const auto put = [](float* to, float value, bool accumulate) { *to = accumulate ? *to + value : value; };
  const auto put_all = [&](int of, bool accumulate, const auto& value) {
    const Span all(args, d, of, std::numeric_limits<int>::max()), felt(args, d, of, args.length);
    if (all.empty()) return;
    all.for_each(first, stride, [&](int i, int n, float* to) {
      if (all.has(n)) put(to, felt.has(n) ? value(x[i], twist * kTurns.at[i]) : 0.0f, accumulate);
    });
  };
  const auto real = [](float2 a, float2 b) { return a.x * b.x - a.y * b.y; };
  const auto imaginary = [](float2 a, float2 b) { return a.x * b.y + a.y * b.x; };
  put_all(part, part >= 0 ? out.accumulate : out.accumulate_reverse, real);
  put_all(part - 1, args.index > 0 || out.accumulate_reverse, imaginary);
  if ((part == 0 || part == 1) && first == 0) {  // lag 0
    const float value = part == 0 ? real(x[0], twist) : imaginary(x[0], twist);
    float *const reverse = out.k_reverse + d * out.k_reverse_channel, *const skip = out.skip + d * out.skip_channel;
    if (out.k_reverse != nullptr) put(reverse, value, part == 1 || out.accumulate_reverse);
    if (out.skip != nullptr) put(skip, value, part == 1 || out.accumulate_skip);
  }
  // Lags that no row has.
  const int beyond = (args.parts.first + args.parts.count) * static_cast<int>(args.radices.points());
  const int thread = blockIdx.x * block.kThreads + threadIdx.x, threads = gridDim.x * block.kThreads;
  for (int n = beyond + thread; args.index == 0 && n < out.taps && !out.accumulate; n += threads) {
    out.k[d * out.k_channel + n * out.k_tap] = 0;
  }
  for (int n = beyond + thread; args.index == 0 && n < out.taps_reverse && !out.accumulate_reverse; n += threads) {
    out.k_reverse[d * out.k_reverse_channel + n * out.k_reverse_tap] = 0;
  }
}

}  // namespace

void transform_filters(Stream& stream, const Taps& taps, const Radices& radices, int64_t length, int64_t first,
                       int channels, float2* scratch, const Spectra& spectra) {
  FilterArgs args{taps, radices, static_cast<int>(length), first, 0, scratch, spectra, {}, spectra.parts};
  for (int index = 0; index < args.parts.count; ++index) {
    args.index = index;
    with_radix(radices.outer, [&]<int Q>() {
      using B = Columns<Q>;
      launch(stream, outer_kernel<Q>, dim3(radices.columns() / B::kCount, channels), B::kThreads, B::kBytes, args);
    });
    launched("fft_conv: transform long filters, outer");
    with_radix(radices.inner, [&]<int Q>() {
      using B = Lines<Q>;
      launch(stream, inner_kernel<Q>, dim3(radices.rows() / B::kCount, channels), B::kThreads, B::kBytes, args);
    });
    launched("fft_conv: transform long filters, inner");
  }
}

void transform_gradients(Stream& stream, const GradientSums& sums, const Radices& radices, int64_t length,
                         int64_t first, int channels, float2* scratch, const Taps& gradients) {
  FilterArgs args{gradients, radices, static_cast<int>(length), first, 0, scratch, {}, sums, sums.parts};
  for (int index = 0; index < args.parts.count; ++index) {
    args.index = index;
    with_radix(radices.inner, [&]<int Q>() {
      using B = Lines<Q>;
      launch(stream, inner_back_kernel<Q>, dim3(radices.rows() / B::kCount, channels), B::kThreads, B::kBytes, args);
    });
    launched("fft_conv: transform long gradients, inner");
    with_radix(radices.outer, [&]<int Q>() {
      using B = Columns<Q>;
      launch(stream, outer_back_kernel<Q>, dim3(radices.columns() / B::kCount, channels), B::kThreads, B::kBytes, args,
             inverse_scale(radices));
    });
    launched("fft_conv: transform long gradients, outer");
  }
}

}  // namespace mara::kernels::cuda::long_rows
