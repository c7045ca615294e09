// State-space systems position by position.
//
// A step is bound by the memory of the state and by latency; a long row by the latency of its recurrence. A warp takes
// one channel of one sequence, modes over lanes, with the state in registers; positions are taken 32 at a time, u and y
// through the lanes. The outputs of a diagonal system at 32 positions are summed over the lanes at once, by 31
// exchanges; the feedback of rank one needs a sum over the lanes at every position.

#include "kernels/cuda/channel_rows.cuh"
#include "kernels/cuda/ssm.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kPositions = 32;

/// Contiguous (H, M, 2) parameters and (H, B, M, 2) states; q and r are null for a diagonal system.
struct Systems {
  const Complex<float>*lambda, *b, *c, *q, *r;
  Complex<float>* state;
  int64_t channels, batches, length;
  int modes;

  explicit Systems(const SsmScan& a)
      : lambda(a.lambda.ptr<Complex<float>>()),
        b(a.b.ptr<Complex<float>>()),
        c(a.c.ptr<Complex<float>>()),
        q(a.q ? a.q.ptr<Complex<float>>() : nullptr),
        r(a.q ? a.r.ptr<Complex<float>>() : nullptr),
        state(a.state.ptr<Complex<float>>()),
        channels(a.u.size(0)),
        batches(a.u.size(1)),
        length(a.u.size(2)),
        modes(static_cast<int>(a.lambda.size(1))) {}
};

/// Re(a b)
__device__ __forceinline__ float real_product(Complex<float> a, Complex<float> b) {
  return fmaf(a.re, b.re, -(a.im * b.im));
}

/// Modes lane, lane + 32, ... of one channel and sequence, kKept of them in registers. With kKept = 0, where that would
/// be too many, all is read and written where it lies, again at every position.
template <int kKept, bool kRankOne>
class LaneModes {
 public:
  __device__ LaneModes(const Systems& systems, int64_t channel, int64_t row)
      : systems_(systems), channel_(channel * systems.modes), row_(row * systems.modes) {
    if constexpr (kKept > 0) {
#pragma unroll
      for (int i = 0; i < kKept; ++i) mode_[i] = read(lane() + 32 * i);
    }
  }

  /// Takes the lane's modes to the next position; its part of y.
  __device__ __forceinline__ float advance(float u) {
    float feedback = 0, y = 0;
    if constexpr (kRankOne) {
      for_each([&](Mode& mode) { feedback += real_product(mode.r, mode.x); });
      feedback = warp_sum(feedback);
    }
    for_each([&](Mode& mode) {
      Complex<float> next = u * mode.b;
      if constexpr (kRankOne) next = next - feedback * mode.q;
      next.re = fmaf(mode.lambda.re, mode.x.re, fmaf(-mode.lambda.im, mode.x.im, next.re));
      next.im = fmaf(mode.lambda.re, mode.x.im, fmaf(mode.lambda.im, mode.x.re, next.im));
      mode.x = next;
      y += real_product(mode.c, next);
    });
    return y;
  }

  __device__ void save() const {
    if constexpr (kKept > 0) {
#pragma unroll
      for (int i = 0; i < kKept; ++i) {
        const int n = lane() + 32 * i;
        if (n < systems_.modes) systems_.state[row_ + n] = mode_[i].x;
      }
    }
  }

 private:
  struct Mode {
    Complex<float> x, lambda, b, c, q, r;  // c and r twice, for the conjugate modes
  };
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  /// Zeros beyond the last mode.
  __device__ __forceinline__ Mode read(int n) const {
    Mode mode{};
    if (n >= systems_.modes) return mode;
    mode.x = systems_.state[row_ + n];
    mode.lambda = systems_.lambda[channel_ + n], mode.b = systems_.b[channel_ + n];
    mode.c = 2.0f * systems_.c[channel_ + n];
    if constexpr (kRankOne) mode.q = systems_.q[channel_ + n], mode.r = 2.0f * systems_.r[channel_ + n];
    return mode;
  }
  template <class F>
  __device__ __forceinline__ void for_each(const F& f) {
    if constexpr (kKept > 0) {
#pragma unroll
      for (int i = 0; i < kKept; ++i) f(mode_[i]);
    } else {
      for (int n = lane(); n < systems_.modes; n += 32) {
        Mode mode = read(n);
        f(mode);
        systems_.state[row_ + n] = mode.x;
      }
    }
  }

  const Systems& systems_;
  int64_t channel_, row_;  // of mode 0
  Mode mode_[kKept > 0 ? kKept : 1];
};

/// Of the 32 sums over the lanes of x[0], x[1], ..., the one of the lane's own number.
template <int kHalf = 16>
__device__ __forceinline__ float sum_for_own_lane(float (&x)[2 * kHalf]) {
  const bool upper = (threadIdx.x & kHalf) != 0;  // lanes with this bit keep the upper half of what is left
  float left[kHalf];
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const float kept = upper ? x[i + kHalf] : x[i], given = upper ? x[i] : x[i + kHalf];
    left[i] = kept + __shfl_xor_sync(0xffffffffu, given, kHalf);
  }
  if constexpr (kHalf == 1) {
    return left[0];
  } else {
    return sum_for_own_lane<kHalf / 2>(left);
  }
}

template <class T, int kKept, bool kRankOne>
__global__ void __launch_bounds__(32 * kWarps, 4)
    scan(const __grid_constant__ Systems systems, ChannelRows<const T> u, ChannelRows<T> y) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= systems.channels * systems.batches) return;
  const int64_t channel = row / systems.batches, batch = row % systems.batches;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const T* const from = u.at(channel, batch);
  T* const to = y.at(channel, batch);
  LaneModes<kKept, kRankOne> modes(systems, channel, row);
  float ahead = lane < systems.length ? widen(from[lane]) : 0.0f;
  for (int64_t begin = 0; begin < systems.length; begin += kPositions) {
    const float input = ahead;
    const int64_t next = begin + kPositions + lane;
    if (next < systems.length) ahead = widen(from[next]);
    const int count = static_cast<int>(min(int64_t{kPositions}, systems.length - begin));
    float output = 0;
    if (!kRankOne && count == kPositions) {
      float parts[kPositions];
#pragma unroll
      for (int t = 0; t < kPositions; ++t) parts[t] = modes.advance(__shfl_sync(0xffffffffu, input, t));
      output = sum_for_own_lane(parts);
    } else {
      for (int t = 0; t < count; ++t) {
        const float sum = warp_sum(modes.advance(__shfl_sync(0xffffffffu, input, t)));
        if (lane == t) output = sum;
      }
    }
    if (lane < count) to[begin + lane] = narrow_to<T>(output);
  }
  modes.save();
}

template <class T>
void run(Stream& stream, const SsmScan& a) {
  const Systems systems(a);
  const int64_t rows = systems.channels * systems.batches;
  if (rows * systems.length == 0) return;
  const auto launch = [&]<int kKept>() {
    const auto kernel = systems.q != nullptr ? scan<T, kKept, true> : scan<T, kKept, false>;
    kernel<<<exact_grid(ceil_div(rows, kWarps)), 32 * kWarps, 0, native(stream)>>>(systems, ChannelRows<const T>(a.u),
                                                                                   ChannelRows<T>(a.y));
    launched("ssm_scan");
  };
  if (systems.modes <= 32) return launch.template operator()<1>();
  if (systems.modes <= 64) return launch.template operator()<2>();
  if (systems.modes <= 128) return launch.template operator()<4>();
  launch.template operator()<0>();
}

}  // namespace

void ssm_scan(Stream& stream, const SsmScan& args) {
  dispatch(args.u.dtype, [&]<class T>() { run<T>(stream, args); });
}

}  // namespace mara::kernels::cuda
