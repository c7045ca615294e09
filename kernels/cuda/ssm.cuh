#pragma once
// What the kernels of state-space systems share: complex numbers, parameters, gradients summed over channels.

#include <cmath>

#include "kernels/cuda/device.cuh"
#include "kernels/ssm_kernel.h"

namespace mara::kernels::cuda {

template <class T>
struct alignas(2 * sizeof(T)) Complex {
  T re, im;
};
template <class T>
__device__ __forceinline__ Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
__device__ __forceinline__ Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
__device__ __forceinline__ Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class T>
__device__ __forceinline__ Complex<T> operator*(T a, Complex<T> b) {
  return {a * b.re, a * b.im};
}
template <class T>
__device__ __forceinline__ Complex<T> conj(Complex<T> a) {
  return {a.re, -a.im};
}
template <class T>
__device__ __forceinline__ T square_of(Complex<T> a) {
  return a.re * a.re + a.im * a.im;
}
template <class T>
__device__ __forceinline__ Complex<T> inverse(Complex<T> a) {
  return 1 / square_of(a) * conj(a);
}
__device__ __forceinline__ Complex<float> narrow(Complex<double> a) {
  return {static_cast<float>(a.re), static_cast<float>(a.im)};
}
__device__ __forceinline__ Complex<double> widen(Complex<float> a) { return {a.re, a.im}; }

/// x within +-bound; what is no number stays so.
__device__ __forceinline__ double clamped(double x, double bound) {
  return x > bound ? bound : x < -bound ? -bound : x;
}

/// The parameters of all systems, contiguous; what follows from them is computed in f64.
struct SsmSystems {
  const float *log_dt, *log_decay, *frequency;
  const Complex<float>*b, *p = nullptr, *c;
  double rate;
  int64_t rows, channels, systems;
  int modes;

  template <class Args>
  explicit SsmSystems(const Args& a)
      : log_dt(a.log_dt.template ptr<float>()),
        log_decay(a.log_decay.template ptr<float>()),
        frequency(a.frequency.template ptr<float>()),
        b(a.b.template ptr<Complex<float>>()),
        c(a.c.template ptr<Complex<float>>()),
        rate(a.rate),
        rows(a.c.size(0)),
        channels(a.log_dt.size(0)),
        systems(a.log_decay.size(0)),
        modes(static_cast<int>(a.log_decay.size(1))) {
    if constexpr (requires { a.p; }) p = a.p.template ptr<Complex<float>>();
  }
  /// Where mode n of a channel is in (S, M), and of a row in (R, M).
  __device__ int64_t of_channel(int64_t channel, int n) const { return channel % systems * modes + n; }
  __device__ int64_t of_row(int64_t row, int n) const { return row * modes + n; }

  __device__ double dt(int64_t channel) const { return rate * exp(clamped(log_dt[channel], kSsmExponent)); }
  __device__ Complex<double> a(int64_t i) const {
    return {-exp(clamped(log_decay[i], kSsmExponent)), clamped(frequency[i], kSsmFrequency)};
  }
  /// Derivatives of dt by log_dt and of a.re and a.im by log_decay and frequency: 0 beyond the bounds.
  __device__ double dt_slope(int64_t channel) const { return fabsf(log_dt[channel]) > kSsmExponent ? 0 : dt(channel); }
  __device__ double decay_slope(int64_t i) const { return fabsf(log_decay[i]) > kSsmExponent ? 0 : a(i).re; }
  __device__ double frequency_slope(int64_t i) const { return fabsf(frequency[i]) > kSsmFrequency ? 0 : 1; }
};

/// A gradient, or the real or imaginary parts of one. It may be absent.
struct SsmGradient {
  float* data = nullptr;
  int step = 1;
  bool accumulate = false;

  SsmGradient() = default;
  SsmGradient(const View& view, bool accumulate, int step = 1, int part = 0) : step(step), accumulate(accumulate) {
    if (view) data = view.ptr<float>() + part;
  }
  __device__ void give(int64_t i, double value) const {
    if (data == nullptr) return;
    float& out = data[i * step];
    out = static_cast<float>(accumulate ? out + value : value);
  }
};
/// The same for complex numbers.
struct SsmComplexGradient {
  SsmGradient re, im;

  SsmComplexGradient(const View& view, bool accumulate) : re(view, accumulate, 2, 0), im(view, accumulate, 2, 1) {}
  __device__ void give(int64_t i, Complex<double> value) const { re.give(i, value.re), im.give(i, value.im); }
};

/// Gradients of (S, M) numbers, of which each channel has its share: shares (kCount, H, M).
template <int kCount>
struct SystemGradients {
  SsmGradient gradient[kCount];

  bool any() const {
    for (const SsmGradient& g : gradient) {
      if (g.data != nullptr) return true;
    }
    return false;
  }
};

inline constexpr int kSumSlices = 8;

// A block adds the shares of 32 modes of a system, in slices of its channels and then over these; y is which gradient.
template <int kCount>
__global__ void __launch_bounds__(32 * kSumSlices)
    sum_shares(const __grid_constant__ SsmSystems systems, const float* shares,
               const __grid_constant__ SystemGradients<kCount> gradients) {
  __shared__ double sums[kSumSlices][32];
  const int lane = static_cast<int>(threadIdx.x) % 32, slice = static_cast<int>(threadIdx.x) / 32;
  const unsigned tiles = ceil_div(systems.modes, 32);
  const int64_t system = blockIdx.x / tiles;
  const int n = static_cast<int>(blockIdx.x % tiles) * 32 + lane;
  double sum = 0;
  if (n < systems.modes) {
    for (int64_t h = system + slice * systems.systems; h < systems.channels; h += kSumSlices * systems.systems) {
      sum += shares[(blockIdx.y * systems.channels + h) * systems.modes + n];
    }
  }
  sums[slice][lane] = sum;
  __syncthreads();
  if (slice > 0 || n >= systems.modes) return;
  for (int i = 1; i < kSumSlices; ++i) sum += sums[i][lane];
  gradients.gradient[blockIdx.y].give(system * systems.modes + n, sum);
}

template <int kCount>
void run_sum_shares(Stream& stream, const SsmSystems& systems, const float* shares,
                    const SystemGradients<kCount>& gradients) {
  const int64_t tiles = ceil_div(systems.modes, 32);
  if (systems.systems * tiles == 0) return;
  const dim3 grid(exact_grid(systems.systems * tiles), kCount);
  sum_shares<kCount><<<grid, 32 * kSumSlices, 0, native(stream)>>>(systems, shares, gradients);
  launched("ssm backward: sum_shares");
}

}  // namespace mara::kernels::cuda
