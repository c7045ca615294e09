// Impulse responses of diagonal plus low rank state-space systems, and their gradients.
//
// Bound by arithmetic: for each row, mode and bin of the transform some 30 operations forward and 90 backward, R M T /
// 2 times. On the imaginary axis z = iy, y = 2 tan(pi j / T), and 2 / (1 + w) = 1 + iy / 2. Near a resonance all
// depends on y - dt Im a, which is taken of numbers in two parts, high and low, as if it were in f64. Work space is a
// row of T / 2 + 1 complex numbers for each of R, which the real transform turns into samples and back in place.
//
// Grid: x is the row, y a tile of kThreads kBins bins. Forward a thread owns bins and walks over the modes, which a
// block prepares in shared memory. Backward it leaves the gradients of its four sums there; then lanes own modes, warps
// walk over the bins of the tile, and a second kernel adds the tiles and ends the chain rule in f64: a warp for each
// channel, modes over lanes. What channels share is then added in order.

#include "kernels/cuda/fft_plan.h"
#include "kernels/cuda/ssm.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kModes = 32;  // taken at a time
constexpr int kSums = 4;    // k00, k01, k10, k11

/// A number in two parts.
struct Split {
  float high, low;
};
__device__ __forceinline__ Split split(double x) {
  const float high = static_cast<float>(x);
  return {high, static_cast<float>(x - static_cast<double>(high))};
}

/// lambda = dt a and the numerators v = dt u w of a row's mode.
struct alignas(16) Mode {
  float re, unused;
  Split im;
  Complex<float> v[kSums];

  __device__ static Mode of(const SsmSystems& systems, int64_t row, int n) {
    const int64_t channel = row % systems.channels, i = systems.of_channel(channel, n);
    const double dt = systems.dt(channel);
    const Complex<double> lambda = dt * systems.a(i), b = widen(systems.b[i]), p = widen(systems.p[i]);
    const Complex<double> c = widen(systems.c[systems.of_row(row, n)]);
    return {static_cast<float>(lambda.re),
            0,
            split(lambda.im),
            {narrow(dt * (c * b)), narrow(dt * (c * p)), narrow(dt * (conj(p) * b)), narrow(dt * (conj(p) * p))}};
  }
};

/// e = 1 / (z - lambda), f = 1 / (z - conj lambda).
struct Poles {
  Complex<float> e, f;

  __device__ __forceinline__ Poles(Split y, float re, Split im) {
    const float near = (y.high - im.high) + (y.low - im.low), far = (y.high + im.high) + (y.low + im.low);
    const float square = re * re;
    const float by_near = __fdividef(1.0f, fmaf(near, near, square)), by_far = __fdividef(1.0f, fmaf(far, far, square));
    e = {-re * by_near, -near * by_near}, f = {-re * by_far, -far * by_far};
  }
};
/// What e and f, or their squares, do with the numbers of a mode and of a bin.
struct Pair {
  float re_sum, re_difference, im_sum, im_difference;

  __device__ __forceinline__ Pair(Complex<float> e, Complex<float> f)
      : re_sum(e.re + f.re), re_difference(e.re - f.re), im_sum(e.im + f.im), im_difference(e.im - f.im) {}

  /// k += v e + conj(v) f
  __device__ __forceinline__ void add_residues(Complex<float> v, Complex<float>& k) const {
    k.re = fmaf(v.re, re_sum, fmaf(-v.im, im_difference, k.re));
    k.im = fmaf(v.re, im_sum, fmaf(v.im, re_difference, k.im));
  }
  /// dv += g conj(e) + conj(g) f, by which the gradient g of k reaches v.
  __device__ __forceinline__ void add_gradient(Complex<float> g, Complex<float>& dv) const {
    dv.re = fmaf(g.re, re_sum, fmaf(g.im, im_sum, dv.re));
    dv.im = fmaf(g.im, re_difference, fmaf(-g.re, im_difference, dv.im));
  }
};

/// Bins of a row: those where z is finite, and the last one.
struct Bins {
  int64_t period;

  __host__ __device__ int64_t finite() const { return period / 2; }
  __host__ __device__ int64_t all() const { return period / 2 + 1; }
  __device__ Split y(int64_t bin) const {
    double sine, cosine;
    sincospi(static_cast<double>(bin) / static_cast<double>(period), &sine, &cosine);
    return split(2 * sine / cosine);
  }
};

/// Brings modes [begin, begin + kModes) of a row into shared memory.
__device__ __forceinline__ void share_modes(const SsmSystems& systems, int64_t row, int begin, Mode* modes) {
  __syncthreads();  // the last use
  const int n = begin + static_cast<int>(threadIdx.x);
  if (threadIdx.x < kModes && n < systems.modes) modes[threadIdx.x] = Mode::of(systems, row, n);
  __syncthreads();
}

/// The four sums at each bin of a thread, and at the last bin of the transform, for thread 0 of tile 0.
template <int kBins>
struct CauchySums {
  Complex<float> k[kBins][kSums] = {};
  float last = 0;

  __device__ CauchySums(const SsmSystems& systems, int64_t row, const Split (&y)[kBins], Mode* modes) {
    for (int begin = 0; begin < systems.modes; begin += kModes) {
      share_modes(systems, row, begin, modes);
      const int count = min(kModes, systems.modes - begin);
#pragma unroll 2
      for (int n = 0; n < count; ++n) {
        const Mode mode = modes[n];
        last += mode.v[0].re;
#pragma unroll
        for (int i = 0; i < kBins; ++i) {
          const Poles poles(y[i], mode.re, mode.im);
          const Pair pair(poles.e, poles.f);
#pragma unroll
          for (int sum = 0; sum < kSums; ++sum) pair.add_residues(mode.v[sum], k[i][sum]);
        }
      }
    }
  }
};

/// The bin i of this thread; beyond the last the kernels compute what they do not keep.
template <int kBins>
__device__ __forceinline__ int64_t bin_of(int i) {
  return (static_cast<int64_t>(blockIdx.y) * kBins + i) * kThreads + threadIdx.x;
}
template <int kBins>
struct OwnBins {
  Split y[kBins];

  __device__ explicit OwnBins(const Bins& bins) {
#pragma unroll
    for (int i = 0; i < kBins; ++i) y[i] = bins.y(min(bin_of<kBins>(i), bins.finite() - 1));
  }
};

// spectra[r][j] = khat[j] / T
template <int kBins>
__global__ void __launch_bounds__(kThreads)
    respond(const __grid_constant__ SsmSystems systems, Bins bins, Complex<float>* spectra) {
  __shared__ Mode modes[kModes];
  const int64_t row = blockIdx.x;
  const OwnBins<kBins> own(bins);
  const CauchySums<kBins> sums(systems, row, own.y, modes);
  const float scale = 1.0f / static_cast<float>(bins.period);
  Complex<float>* const out = spectra + row * bins.all();
#pragma unroll
  for (int i = 0; i < kBins; ++i) {
    const int64_t bin = bin_of<kBins>(i);
    if (bin >= bins.finite()) continue;
    const Complex<float>(&k)[kSums] = sums.k[i];
    const Complex<float> denominator{1 + k[3].re, k[3].im}, outer{scale, scale * own.y[i].high / 2};
    out[bin] = outer * (k[0] - k[1] * k[2] * inverse(denominator));
  }
  if (blockIdx.y == 0 && threadIdx.x == 0) out[bins.finite()] = {scale * sums.last, 0};
}

/// Gradients of a mode's numerators, and of its lambda but for the factors conj(v).
struct alignas(16) Moments {
  Complex<float> numerator[kSums], pole[kSums];
};
constexpr int kParts = 4 * kSums;  // numbers in Moments

// partial (tiles, R, M), from spectra that hold the transform of dk.
template <int kBins>
__global__ void __launch_bounds__(kThreads)
    reduce(const __grid_constant__ SsmSystems systems, Bins bins, const Complex<float>* spectra, float* partial) {
  constexpr int kTile = kThreads * kBins;
  __shared__ Mode modes[kModes];
  __shared__ __align__(16) float upstream[kTile][2 * kSums];
  __shared__ Split ys[kTile];
  __shared__ float parts[kWarps][kParts][kModes];
  const int64_t row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  {
    const OwnBins<kBins> own(bins);
    const CauchySums<kBins> sums(systems, row, own.y, modes);
#pragma unroll
    for (int i = 0; i < kBins; ++i) {
      const int64_t bin = bin_of<kBins>(i);
      Complex<float> g{0, 0};
      if (bin < bins.finite()) {
        // Every bin but 0 stands for two; the gradient of 0, whose sums are real, is real.
        const float scale = (bin == 0 ? 1.0f : 2.0f) / static_cast<float>(bins.period);
        g = scale * spectra[row * bins.all() + bin];
        if (bin == 0) g.im = 0;
      }
      // khat = outer (k00 - k01 k10 / (1 + k11))
      const Complex<float>(&k)[kSums] = sums.k[i];
      const Complex<float> by_denominator = inverse(Complex<float>{1 + k[3].re, k[3].im});
      const Complex<float> left = k[1] * by_denominator, right = k[2] * by_denominator;
      const Complex<float> inner = g * Complex<float>{1, -own.y[i].high / 2};
      const Complex<float> of_sums[kSums] = {inner, -1.0f * (inner * conj(right)), -1.0f * (inner * conj(left)),
                                             inner * conj(left * right)};
      float numbers[2 * kSums];
#pragma unroll
      for (int sum = 0; sum < kSums; ++sum) {
        numbers[2 * sum] = of_sums[sum].re, numbers[2 * sum + 1] = of_sums[sum].im;
      }
      const int at = i * kThreads + thread;
      store(upstream[at], numbers);
      ys[at] = own.y[i];
    }
  }
  for (int begin = 0; begin < systems.modes; begin += kModes) {
    share_modes(systems, row, begin, modes);
    const int count = min(kModes, systems.modes - begin);
    const Mode mode = modes[min(lane, count - 1)];
    Complex<float> numerator[kSums] = {}, pole[kSums] = {};
#pragma unroll 2
    for (int at = warp; at < kTile; at += kWarps) {
      const Poles poles(ys[at], mode.re, mode.im);
      const Pair plain(poles.e, poles.f), squares(poles.e * poles.e, poles.f * poles.f);
      float g[2 * kSums];
      load(upstream[at], g);
#pragma unroll
      for (int sum = 0; sum < kSums; ++sum) {
        const Complex<float> of_sum{g[2 * sum], g[2 * sum + 1]};
        plain.add_gradient(of_sum, numerator[sum]), squares.add_gradient(of_sum, pole[sum]);
      }
    }
#pragma unroll
    for (int sum = 0; sum < kSums; ++sum) {
      parts[warp][2 * sum][lane] = numerator[sum].re, parts[warp][2 * sum + 1][lane] = numerator[sum].im;
      parts[warp][2 * (kSums + sum)][lane] = pole[sum].re, parts[warp][2 * (kSums + sum) + 1][lane] = pole[sum].im;
    }
    __syncthreads();
    for (int i = thread; i < count * kParts; i += kThreads) {
      const int n = i / kParts, part = i % kParts;
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += parts[w][part][n];
      partial[((blockIdx.y * systems.rows + row) * systems.modes + begin) * kParts + i] = sum;
    }
  }
}

enum Share { kDecay, kFrequency, kBRe, kBIm, kPRe, kPIm, kShares };

__global__ void __launch_bounds__(kThreads)
    chain(const __grid_constant__ SsmSystems systems, Bins bins, const Complex<float>* spectra, const Moments* partial,
          int tiles, SsmGradient dlog_dt, SsmComplexGradient dc, float* shares) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (channel >= systems.channels) return;
  const double dt = systems.dt(channel);
  double ddt = 0;
  for (int n = lane; n < systems.modes; n += 32) {
    const int64_t i = systems.of_channel(channel, n);
    const Complex<double> a = systems.a(i), b = widen(systems.b[i]), p = widen(systems.p[i]);
    Complex<double> dlambda{}, db{}, dp{};
    for (int64_t row = channel; row < systems.rows; row += systems.channels) {
      const int64_t at = systems.of_row(row, n);
      Complex<double> dv[kSums] = {}, pole[kSums] = {};
      for (int tile = 0; tile < tiles; ++tile) {
        const Moments& moments = partial[tile * systems.rows * systems.modes + at];
#pragma unroll
        for (int sum = 0; sum < kSums; ++sum) {
          dv[sum] = dv[sum] + widen(moments.numerator[sum]), pole[sum] = pole[sum] + widen(moments.pole[sum]);
        }
      }
      // The last bin is dt Re sum c b.
      dv[0].re += spectra[row * bins.all() + bins.finite()].re / static_cast<double>(bins.period);
      const Complex<double> c = widen(systems.c[at]), uw[kSums] = {c * b, c * p, conj(p) * b, conj(p) * p};
#pragma unroll
      for (int sum = 0; sum < kSums; ++sum) {
        ddt += (dv[sum] * conj(uw[sum])).re;
        dlambda = dlambda + dt * (conj(uw[sum]) * pole[sum]);
      }
      db = db + dt * (dv[0] * conj(c) + dv[2] * p);
      dp = dp + dt * (dv[1] * conj(c) + conj(dv[2]) * b + 2 * dv[3].re * p);
      dc.give(at, dt * (dv[0] * conj(b) + dv[1] * conj(p)));
    }
    ddt += (dlambda * conj(a)).re;
    const double share[kShares] = {systems.decay_slope(i) * dt * dlambda.re,
                                   systems.frequency_slope(i) * dt * dlambda.im,
                                   db.re,
                                   db.im,
                                   dp.re,
                                   dp.im};
#pragma unroll
    for (int which = 0; which < kShares; ++which) {
      if (shares != nullptr) shares[(which * systems.channels + channel) * systems.modes + n] = share[which];
    }
  }
  ddt = warp_sum(ddt);
  if (lane == 0) dlog_dt.give(channel, systems.dt_slope(channel) * ddt);
}

// Rows of `kept` numbers, with zeros up to `width`.
__global__ void __launch_bounds__(kThreads)
    move_rows(const float* from, int64_t from_pitch, float* to, int64_t to_pitch, int64_t kept, int64_t width) {
  const unsigned tiles = ceil_div(width, kThreads);
  const int64_t at = static_cast<int64_t>(blockIdx.x % tiles) * kThreads + threadIdx.x, row = blockIdx.x / tiles;
  if (at < width) to[row * to_pitch + at] = at < kept ? from[row * from_pitch + at] : 0.0f;
}
void run_move_rows(Stream& stream, int64_t rows, const float* from, int64_t from_pitch, float* to, int64_t to_pitch,
                   int64_t kept, int64_t width) {
  move_rows<<<exact_grid(rows * ceil_div(width, kThreads)), kThreads, 0, native(stream)>>>(from, from_pitch, to,
                                                                                           to_pitch, kept, width);
  launched("dplr_ssm: move_rows");
}

void transform(Stream& stream, const Bins& bins, int64_t rows, Complex<float>* spectra, FftPlan::Kind kind) {
  FftPlan::of(stream, bins.period, rows, kind).run(stream, reinterpret_cast<cufftComplex*>(spectra));
}

/// Calls f.template operator()<kBins>(tiles).
template <class F>
void with_tiles(const Bins& bins, const F& f) {
  const int64_t finite = bins.finite();
  finite <= kThreads ? f.template operator()<1>(1) : f.template operator()<4>(ceil_div(finite, 4 * kThreads));
}

}  // namespace

void dplr_ssm_forward(Stream& stream, const DplrSsmForward& a) {
  require_f32("dplr_ssm_forward", a.k.dtype);
  if (a.k.numel() == 0) return;
  const SsmSystems systems(a);
  const Bins bins{a.period};
  const int64_t length = a.k.size(1);
  const auto spectra = stream.scratch<Complex<float>>(systems.rows * bins.all());
  with_tiles(bins, [&]<int kBins>(int64_t tiles) {
    const dim3 grid(exact_grid(systems.rows), exact_grid(tiles));
    respond<kBins><<<grid, kThreads, 0, native(stream)>>>(systems, bins, spectra);
    launched("dplr_ssm_forward: respond");
  });
  transform(stream, bins, systems.rows, spectra, FftPlan::Kind::complex_to_real);
  run_move_rows(stream, systems.rows, reinterpret_cast<const float*>(spectra.get()), 2 * bins.all(), a.k.ptr<float>(),
                length, length, length);
}

void dplr_ssm_backward(Stream& stream, const DplrSsmBackward& a) {
  require_f32("dplr_ssm_backward", a.dk.dtype);
  const SsmSystems systems(a);
  if (systems.channels == 0) return;
  const Bins bins{a.period};
  const int64_t length = a.dk.size(1);
  const SystemGradients<kShares> gradients{{{a.dlog_decay, a.accumulate_log_decay},
                                            {a.dfrequency, a.accumulate_frequency},
                                            {a.db, a.accumulate_b, 2, 0},
                                            {a.db, a.accumulate_b, 2, 1},
                                            {a.dp, a.accumulate_p, 2, 0},
                                            {a.dp, a.accumulate_p, 2, 1}}};
  const auto shares = stream.scratch<float>(gradients.any() ? kShares * systems.channels * systems.modes : 0);
  const auto spectra = stream.scratch<Complex<float>>(systems.rows * bins.all());
  if (systems.rows > 0) {
    run_move_rows(stream, systems.rows, a.dk.ptr<float>(), length, reinterpret_cast<float*>(spectra.get()),
                  2 * bins.all(), length, 2 * bins.all());
    transform(stream, bins, systems.rows, spectra, FftPlan::Kind::real_to_complex);
  }
  with_tiles(bins, [&]<int kBins>(int64_t tiles) {
    const auto partial = stream.scratch<float>(tiles * systems.rows * systems.modes * kParts);
    if (systems.rows > 0) {
      const dim3 grid(exact_grid(systems.rows), exact_grid(tiles));
      reduce<kBins><<<grid, kThreads, 0, native(stream)>>>(systems, bins, spectra, partial);
      launched("dplr_ssm_backward: reduce");
    }
    chain<<<exact_grid(ceil_div(systems.channels, kWarps)), kThreads, 0, native(stream)>>>(
        systems, bins, spectra, reinterpret_cast<const Moments*>(partial.get()), static_cast<int>(tiles),
        SsmGradient(a.dlog_dt, a.accumulate_log_dt), SsmComplexGradient(a.dc, a.accumulate_c),
        gradients.any() ? shares.get() : nullptr);
    launched("dplr_ssm_backward: chain");
  });
  if (gradients.any()) run_sum_shares(stream, systems, shares, gradients);
}

}  // namespace mara::kernels::cuda
