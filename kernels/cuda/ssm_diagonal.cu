// Impulse responses of diagonal state-space systems, and their gradients.
//
// Bound by arithmetic, 2 R M L multiply-adds forward and 4 R M L backward, since powers come from two tables: with
// l = T i + j, lambda^l = lambda^(T i) lambda^j. Then a row of k is the product of a real (L/T, 2M) matrix and a
// (2M, T) one, and backward dk, as a matrix (L/T, T), is multiplied by the table of lambda^j; both matrices are in
// shared memory, made there. The logarithm of lambda is computed in f64; phases are turns in 64-bit fixed point, where
// multiplication by l reduces them exactly, so that the error of a power does not grow with l.
//
// Grid: x is the row, y a tile of 16 kLines spans of T positions. The last steps of the chain rule are O(R M), in f64:
// a warp for each channel, modes over lanes; what channels share is then added in order.

#include <numbers>

#include "kernels/cuda/ssm.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr int kModes = 32;  // taken at a time
constexpr int kSpan = 64;   // T
constexpr int kLineThreads = 16;
constexpr int kForwardThreads = kLineThreads * kSpan / 4;    // each makes kLines x 4 positions
constexpr int kBackwardThreads = kLineThreads * kModes / 4;  // each adds kLines x 4 modes
constexpr int kChainThreads = 128;

/// One mode in discrete time.
struct Mode {
  Complex<double> lambda, phi;
  Complex<double> lambda_z;       // d lambda / dz
  Complex<double> phi_a, phi_dt;  // derivatives of phi
  double log2_size, turns;        // lambda = 2^log2_size exp(2 pi i turns)
};
constexpr double kSmallestLog2 = -4096;  // nothing from position 1 on, and 2^(0 log2_size) is 1

__device__ Mode zero_order_hold(double dt, Complex<double> a) {
  const Complex<double> z = dt * a;
  Mode mode;
  mode.turns = z.im / (2 * std::numbers::pi);
  mode.turns -= rint(mode.turns);
  double sine, cosine;
  sincospi(2 * mode.turns, &sine, &cosine);
  mode.lambda = exp(z.re) * Complex<double>{cosine, sine};
  mode.log2_size = fmax(z.re * std::numbers::log2e, kSmallestLog2);
  Complex<double> mean{1, 0}, slope{0.5, 0};  // (e^z - 1) / z and its derivative
  const Complex<double> one = mean;
  if (square_of(z) < 1e-4) {  // series, for the differences cancel
    mean = one + 1.0 / 7 * z;
    for (int k = 6; k >= 2; --k) mean = one + 1.0 / k * (z * mean);
    slope = Complex<double>{1.0 / 144, 0} + 1.0 / 840 * z;
    for (const double next : {1.0 / 30, 1.0 / 8, 1.0 / 3, 1.0 / 2}) slope = Complex<double>{next, 0} + z * slope;
  } else {
    const Complex<double> by_z = inverse(z);
    mean = (mode.lambda - one) * by_z;
    slope = (mode.lambda - mean) * by_z;
  }
  mode.phi = dt * mean;
  mode.lambda_z = mode.phi_dt = mode.lambda;
  mode.phi_a = dt * dt * slope;
  return mode;
}

__device__ Mode bilinear(double dt, Complex<double> a) {
  const Complex<double> w = dt / 2 * a, one{1, 0}, factor = inverse(one - w);
  Mode mode;
  mode.lambda = (one + w) * factor;
  // |1 + w|^2 = |1 - w|^2 + 4 Re w, and (1 + w) (1 - conj w) = 1 - |w|^2 + 2i Im w.
  const double log2_square = log1p(fmax(4 * w.re * square_of(factor), -1.0)) * std::numbers::log2e;
  mode.log2_size = fmax(log2_square / 2, kSmallestLog2);
  mode.turns = atan2(2 * w.im, 1 - square_of(w)) / (2 * std::numbers::pi);
  mode.phi = dt * factor;
  mode.lambda_z = mode.phi_dt = factor * factor;
  mode.phi_a = dt * dt / 2 * mode.lambda_z;
  return mode;
}

__device__ __forceinline__ Mode mode_of(Discretization discretization, double dt, Complex<double> a) {
  return discretization == Discretization::zoh ? zero_order_hold(dt, a) : bilinear(dt, a);
}

/// lambda^l, exact but for the rounding of f32.
struct Powers {
  uint64_t turns;  // 2^64 are one
  float log2_size;

  __device__ static Powers of(const Mode& mode) {
    return {static_cast<uint64_t>(__double2ll_rn(mode.turns * 0x1p62)) << 2, static_cast<float>(mode.log2_size)};
  }
  __device__ __forceinline__ Complex<float> operator()(uint32_t l) const {
    float sine, cosine;
    sincospif(static_cast<float>(static_cast<int32_t>((turns * l) >> 32)) * 0x1p-31f, &sine, &cosine);
    const float size = exp2f(log2_size * static_cast<float>(l));
    return {size * cosine, size * sine};
  }
};

// k[l] = sum_n Re(2 v lambda^(T i)) Re(lambda^j) - Im(2 v lambda^(T i)) Im(lambda^j), v = c b phi
template <int kLines>
__global__ void __launch_bounds__(kForwardThreads)
    respond(const __grid_constant__ SsmSystems systems, Discretization discretization, float* k, uint32_t length,
            bool vector) {
  constexpr int kTile = kLineThreads * kLines;
  __shared__ Powers powers[kModes];
  __shared__ Complex<float> weight[kModes];
  __shared__ __align__(16) float coarse[2 * kModes][kTile];
  __shared__ __align__(16) float fine[2 * kModes][kSpan];
  const int64_t row = blockIdx.x, channel = row % systems.channels;
  const uint32_t first = blockIdx.y * kTile;  // span of the tile
  const int thread = static_cast<int>(threadIdx.x);
  const int line = thread / (kSpan / 4) * kLines, column = thread % (kSpan / 4) * 4;
  const bool inside = (first + line) * kSpan < length;
  float sum[kLines][4] = {};
  for (int begin = 0; begin < systems.modes; begin += kModes) {
    const int count = min(kModes, systems.modes - begin);
    if (thread < count) {
      const int64_t i = systems.of_channel(channel, begin + thread);
      const Mode mode = mode_of(discretization, systems.dt(channel), systems.a(i));
      const Complex<double> c = widen(systems.c[systems.of_row(row, begin + thread)]);
      powers[thread] = Powers::of(mode);
      weight[thread] = narrow(2.0 * (c * widen(systems.b[i]) * mode.phi));
    }
    __syncthreads();
    for (int i = thread; i < count * kTile; i += kForwardThreads) {
      const int n = i / kTile, at = i % kTile;
      const Complex<float> value = weight[n] * powers[n]((first + at) * kSpan);
      coarse[2 * n][at] = value.re, coarse[2 * n + 1][at] = -value.im;
    }
    for (int i = thread; i < count * kSpan; i += kForwardThreads) {
      const int n = i / kSpan, at = i % kSpan;
      const Complex<float> value = powers[n](at);
      fine[2 * n][at] = value.re, fine[2 * n + 1][at] = value.im;
    }
    __syncthreads();
    if (inside) {
#pragma unroll 8
      for (int i = 0; i < 2 * count; ++i) {
        float x[kLines], y[4];
        load(&coarse[i][line], x), load(&fine[i][column], y);
#pragma unroll
        for (int u = 0; u < kLines; ++u) {
#pragma unroll
          for (int v = 0; v < 4; ++v) sum[u][v] = fmaf(x[u], y[v], sum[u][v]);
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int u = 0; u < kLines; ++u) {
    const uint32_t l = (first + line + u) * kSpan + column;
    float* const out = k + row * length + l;
    if (vector) {  // the length is a multiple of 4
      if (l < length) store(out, sum[u]);
    } else {
#pragma unroll
      for (int v = 0; v < 4; ++v) {
        if (l + v < length) out[v] = sum[u][v];
      }
    }
  }
}

/// With g[m] = dk[m + 1], sums over m of g[m] conj(lambda^m) and of g[m] m conj(lambda^m). The shift by one position
/// keeps derivatives finite where lambda is 0.
struct alignas(16) Moments {
  Complex<float> zeroth, first;
};
constexpr int kParts = 4;  // numbers in Moments

// partial (tiles, R, M)
template <int kLines>
__global__ void __launch_bounds__(kBackwardThreads)
    reduce(const __grid_constant__ SsmSystems systems, Discretization discretization, const float* dk, uint32_t length,
           float* partial) {
  constexpr int kTile = kLineThreads * kLines, kPitch = kSpan + 4, kWarps = kBackwardThreads / 32;
  __shared__ __align__(16) float g[kTile][kPitch];  // the pitch lets 4 neighbouring lines be read at once
  __shared__ __align__(16) float re[kSpan][kModes], im[kSpan][kModes];
  __shared__ Powers powers[kModes];
  __shared__ float sums[kWarps][kParts][kModes];
  const int64_t row = blockIdx.x, channel = row % systems.channels;
  const uint32_t first = blockIdx.y * kTile;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int column = thread % (kModes / 4) * 4, line = thread / (kModes / 4);  // and every kLineThreads after it
  for (int i = thread; i < kTile * kSpan; i += kBackwardThreads) {
    const uint32_t l = first * kSpan + i + 1;
    g[i / kSpan][i % kSpan] = l < length ? dk[row * length + l] : 0.0f;
  }
  for (int begin = 0; begin < systems.modes; begin += kModes) {
    const int count = min(kModes, systems.modes - begin);
    if (thread < kModes) {
      const int n = min(thread, count - 1);
      const Complex<double> a = systems.a(systems.of_channel(channel, begin + n));
      powers[thread] = Powers::of(mode_of(discretization, systems.dt(channel), a));
    }
    __syncthreads();
    for (int i = thread; i < kModes * kSpan; i += kBackwardThreads) {
      const int n = i % kModes, at = i / kModes;
      const Complex<float> value = conj(powers[n](at));
      re[at][n] = value.re, im[at][n] = value.im;
    }
    __syncthreads();
    Complex<float> zeroth[4] = {}, first_moment[4] = {};
    if ((first + line) * kSpan < length) {
      Complex<float> s0[kLines][4] = {}, s1[kLines][4] = {};
#pragma unroll 1
      for (int at = 0; at < kSpan; at += 4) {
        float x[kLines][4];
#pragma unroll
        for (int u = 0; u < kLines; ++u) load(&g[line + u * kLineThreads][at], x[u]);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float cosine[4], sine[4];
          load(&re[at + j][column], cosine), load(&im[at + j][column], sine);
#pragma unroll
          for (int u = 0; u < kLines; ++u) {
            const float weighted = x[u][j] * static_cast<float>(at + j);
#pragma unroll
            for (int v = 0; v < 4; ++v) {
              s0[u][v].re = fmaf(x[u][j], cosine[v], s0[u][v].re), s0[u][v].im = fmaf(x[u][j], sine[v], s0[u][v].im);
              s1[u][v].re = fmaf(weighted, cosine[v], s1[u][v].re), s1[u][v].im = fmaf(weighted, sine[v], s1[u][v].im);
            }
          }
        }
      }
#pragma unroll
      for (int u = 0; u < kLines; ++u) {
        const uint32_t start = (first + line + u * kLineThreads) * kSpan;
#pragma unroll
        for (int v = 0; v < 4; ++v) {
          const Complex<float> factor = conj(powers[column + v](start));
          zeroth[v] = zeroth[v] + factor * s0[u][v];
          first_moment[v] = first_moment[v] + factor * (s1[u][v] + static_cast<float>(start) * s0[u][v]);
        }
      }
    }
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      float parts[kParts] = {zeroth[v].re, zeroth[v].im, first_moment[v].re, first_moment[v].im};
#pragma unroll
      for (int part = 0; part < kParts; ++part) {  // over the 4 lines of a warp
        parts[part] += __shfl_xor_sync(0xffffffffu, parts[part], kModes / 4);
        parts[part] += __shfl_xor_sync(0xffffffffu, parts[part], kModes / 2);
        if (lane < kModes / 4) sums[thread / 32][part][column + v] = parts[part];
      }
    }
    __syncthreads();
    const int n = thread / kParts, part = thread % kParts;
    if (n < count) {
      float sum = 0;
#pragma unroll
      for (int warp = 0; warp < kWarps; ++warp) sum += sums[warp][part][n];
      partial[((blockIdx.y * systems.rows + row) * systems.modes + begin + n) * kParts + part] = sum;
    }
    __syncthreads();
  }
}
static_assert(kBackwardThreads == kModes * kParts && kModes == 32);

enum Share { kDecay, kFrequency, kBRe, kBIm, kShares };

__global__ void __launch_bounds__(kChainThreads)
    chain(const __grid_constant__ SsmSystems systems, Discretization discretization, const float* dk, int64_t length,
          const Moments* partial, int tiles, SsmGradient dlog_dt, SsmComplexGradient dc, float* shares) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * (kChainThreads / 32) + threadIdx.x / 32;
  if (channel >= systems.channels) return;
  const double dt = systems.dt(channel);
  double ddt = 0;
  for (int n = lane; n < systems.modes; n += 32) {
    const int64_t i = systems.of_channel(channel, n);
    const Complex<double> a = systems.a(i), b = widen(systems.b[i]);
    const Mode mode = mode_of(discretization, dt, a);
    Complex<double> dlambda{}, dphi{}, db{};
    for (int64_t row = channel; row < systems.rows; row += systems.channels) {
      const int64_t at = systems.of_row(row, n);
      Complex<double> zeroth{}, first{};
      for (int tile = 0; tile < tiles; ++tile) {
        const Moments moments = partial[tile * systems.rows * systems.modes + at];
        zeroth = zeroth + widen(moments.zeroth), first = first + widen(moments.first);
      }
      const Complex<double> c = widen(systems.c[at]);
      Complex<double> dv = conj(mode.lambda) * zeroth;
      dv.re += length > 0 ? dk[row * length] : 0.0f;
      dv = 2.0 * dv;
      dlambda = dlambda + 2.0 * (conj(c * b * mode.phi) * (zeroth + first));
      dphi = dphi + dv * conj(b * c);
      db = db + dv * conj(c * mode.phi);
      dc.give(at, dv * conj(b * mode.phi));
    }
    const Complex<double> dz = dlambda * conj(mode.lambda_z);
    const Complex<double> da = dt * dz + dphi * conj(mode.phi_a);
    ddt += (dz * conj(a) + dphi * conj(mode.phi_dt)).re;
    const double share[kShares] = {systems.decay_slope(i) * da.re, systems.frequency_slope(i) * da.im, db.re, db.im};
#pragma unroll
    for (int which = 0; which < kShares; ++which) {
      if (shares != nullptr) shares[(which * systems.channels + channel) * systems.modes + n] = share[which];
    }
  }
  ddt = warp_sum(ddt);
  if (lane == 0) dlog_dt.give(channel, systems.dt_slope(channel) * ddt);
}

/// Calls f.template operator()<kLines>(tiles) for rows of `length`: few lines to a thread where rows are short.
template <class F>
void with_tiles(int64_t length, const F& f) {
  const int64_t spans = ceil_div(length, kSpan);
  spans <= kLineThreads ? f.template operator()<1>(1) : f.template operator()<4>(ceil_div(spans, 4 * kLineThreads));
}

}  // namespace

void diagonal_ssm_forward(Stream& stream, const DiagonalSsmForward& a) {
  require_f32("diagonal_ssm_forward", a.k.dtype);
  if (a.k.numel() == 0) return;
  const SsmSystems systems(a);
  const int64_t length = a.k.size(1);
  float* const k = a.k.ptr<float>();
  with_tiles(length, [&]<int kLines>(int64_t tiles) {
    const dim3 grid(exact_grid(systems.rows), exact_grid(tiles));
    respond<kLines><<<grid, kForwardThreads, 0, native(stream)>>>(
        systems, a.discretization, k, static_cast<uint32_t>(length), length % 4 == 0 && aligned(16, k));
    launched("diagonal_ssm_forward");
  });
}

void diagonal_ssm_backward(Stream& stream, const DiagonalSsmBackward& a) {
  require_f32("diagonal_ssm_backward", a.dk.dtype);
  const SsmSystems systems(a);
  if (systems.channels == 0) return;
  const int64_t length = a.dk.size(1), numbers = systems.channels * systems.modes;
  const float* const dk = a.dk.ptr<float>();
  const SystemGradients<kShares> gradients{{{a.dlog_decay, a.accumulate_log_decay},
                                            {a.dfrequency, a.accumulate_frequency},
                                            {a.db, a.accumulate_b, 2, 0},
                                            {a.db, a.accumulate_b, 2, 1}}};
  const auto shares = stream.scratch<float>(gradients.any() ? kShares * numbers : 0);
  with_tiles(length, [&]<int kLines>(int64_t tiles) {
    const auto partial = stream.scratch<float>(tiles * systems.rows * systems.modes * kParts);
    if (systems.rows > 0) {
      const dim3 grid(exact_grid(systems.rows), exact_grid(tiles));
      reduce<kLines><<<grid, kBackwardThreads, 0, native(stream)>>>(systems, a.discretization, dk,
                                                                    static_cast<uint32_t>(length), partial);
      launched("diagonal_ssm_backward: reduce");
    }
    chain<<<exact_grid(ceil_div(systems.channels, kChainThreads / 32)), kChainThreads, 0, native(stream)>>>(
        systems, a.discretization, dk, length, reinterpret_cast<const Moments*>(partial.get()), static_cast<int>(tiles),
        SsmGradient(a.dlog_dt, a.accumulate_log_dt), SsmComplexGradient(a.dc, a.accumulate_c),
        gradients.any() ? shares.get() : nullptr);
    launched("diagonal_ssm_backward: chain");
  });
  if (gradients.any()) run_sum_shares(stream, systems, shares, gradients);
}

}  // namespace mara::kernels::cuda
