// Causal depthwise convolution with a few taps.
//
// Bound by memory: u and y once forward, dy, u and du once backward where there are up to 4 taps. A thread makes 16
// bytes of a row from its own pack and those around it, which its neighbours read at the same time, so that they come
// from the first-level cache. A block works on one channel, over a span of the packs of all its rows (x of the grid is
// channel and slice), and leaves its sums for dweight and dbias to a second kernel, which adds the slices in order.
// More taps take the same road with a longer halo; their sums are made 16 lags at a time (y of the grid).

#include "kernels/cuda/channel_rows.cuh"
#include "kernels/cuda/short_weight.cuh"
#include "kernels/kernels.h"
#include "kernels/short_conv.h"

namespace mara::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFewTaps = 4, kMaxTaps = 64;
constexpr int kLagGroup = 16;  // lags whose sums a block makes where there are many taps

/// How the packs of a channel's rows are shared by blocks, by the shape alone: a slice has `span` of them.
struct Work {
  int64_t channels, length;
  uint32_t packs_per_row, packs, span, slices;

  Work(const View& u, int per_pack) : channels(u.size(0)), length(u.size(2)) {
    packs_per_row = static_cast<uint32_t>(ceil_div(length, per_pack));
    packs = packs_per_row * static_cast<uint32_t>(u.size(1));
    constexpr int64_t kLarge = 1 << 21;  // packs; below, it is more important to have many blocks
    span = kThreads * (channels * packs >= kLarge ? 8 : 2);
    slices = ceil_div(packs, span);
  }
  unsigned blocks() const { return exact_grid(channels * slices); }
};

/// Calls body(b, l) for each pack of the block that is this thread's: values from l on of batch row b.
template <int V, class Body>
__device__ __forceinline__ void for_each_own_pack(const Work& work, const Body& body) {
  const uint32_t begin = blockIdx.x % work.slices * work.span, end = min(begin + work.span, work.packs);
  for (uint32_t pack = begin + threadIdx.x; pack < end; pack += kThreads) {
    body(pack / work.packs_per_row, static_cast<int64_t>(pack % work.packs_per_row) * V);
  }
}

/// A pack of a row, l a multiple of V; 0 outside [0, length). With kPacks it is aligned and the length a multiple of V:
/// a scalar tail beside it would make the compiler take the wide accesses apart.
template <bool kPacks, class T, int V>
__device__ __forceinline__ void load_pack(const T* row, int64_t l, int64_t length, float (&to)[V]) {
  if constexpr (kPacks) {
#pragma unroll
    for (int i = 0; i < V; ++i) to[i] = 0;
    if (l >= 0 && l < length) load<V>(row + l, to);
  } else {
#pragma unroll
    for (int i = 0; i < V; ++i) to[i] = l >= 0 && l + i < length ? widen(row[l + i]) : 0.0f;
  }
}
template <bool kPacks, class T, int V>
__device__ __forceinline__ void store_pack(T* row, int64_t l, int64_t length, const float (&from)[V]) {
  if constexpr (kPacks) {
    store<V>(row + l, from);
  } else {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      if (l + i < length) row[l + i] = narrow_to<T>(from[i]);
    }
  }
}

/// The pack from l on, and as many before it (kDirection 1) or after it (-1) as hold all values at lags < kLags.
template <class T, int kLags, int kDirection>
struct Window {
  static constexpr int V = kPerAccess<T>, kPacksHeld = 1 + (kLags + V - 2) / V;
  float pack[kPacksHeld][V];

  template <bool kPacks>
  __device__ __forceinline__ void move_to(const T* row, int64_t l, int64_t length) {
#pragma unroll
    for (int i = 0; i < kPacksHeld; ++i) load_pack<kPacks>(row, l - kDirection * i * V, length, pack[i]);
  }
  /// Adds to what lies inside the row.
  template <bool kPacks>
  __device__ __forceinline__ void add(float shift, int64_t l, int64_t length) {
#pragma unroll
    for (int held = 0; held < kPacksHeld; ++held) {
      const int64_t at = l - kDirection * held * V;
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (at >= 0 && (kPacks ? at : at + i) < length) pack[held][i] += shift;
      }
    }
  }
  /// Value l + i - kDirection lag.
  __device__ __forceinline__ float at(int i, int lag) const {
    const int held = kDirection > 0 ? ceil_div(lag - i, V) : (i + lag) / V;
    return pack[held][i - kDirection * lag + kDirection * held * V];
  }
};

/// sum[i] += sum_lag taps[lag] x[i - kDirection lag]
template <class T, int kLags, int kDirection>
__device__ __forceinline__ void add_taps(const float* taps, int count, const Window<T, kLags, kDirection>& x,
                                         float (&sum)[kPerAccess<T>]) {
#pragma unroll
  for (int lag = 0; lag < kLags; ++lag) {
    if (lag < count) {  // a tap of 0 would let through what is not finite
#pragma unroll
      for (int i = 0; i < kPerAccess<T>; ++i) sum[i] = fmaf(taps[lag], x.at(i, lag), sum[i]);
    }
  }
}

/// Brings the taps of a channel into shared memory.
__device__ __forceinline__ void share_taps(const ShortWeight& weight, int64_t d, float* taps) {
  if (threadIdx.x < weight.taps) taps[threadIdx.x] = weight.at_lag(d, threadIdx.x);
  __syncthreads();
}

// y[l] = bias + sum_lag weight[lag] (x[l - kDirection lag] + input_bias)
template <class T, int kLags, int kDirection, bool kPacks>
__global__ void __launch_bounds__(kThreads) convolve(Work work, ChannelRows<T> x, PerChannel input_bias,
                                                     ShortWeight weight, PerChannel bias, ChannelRows<T> y) {
  constexpr int V = kPerAccess<T>;
  __shared__ float taps[kLags];
  const int64_t d = blockIdx.x / work.slices;
  share_taps(weight, d, taps);
  const float start = bias.at_or_zero(d), shift = input_bias.at_or_zero(d);
  for_each_own_pack<V>(work, [&](int64_t b, int64_t l) {
    Window<T, kLags, kDirection> window;
    window.template move_to<kPacks>(x.at(d, b), l, work.length);
    window.template add<kPacks>(shift, l, work.length);
    float sum[V];
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] = start;
    add_taps(taps, weight.taps, window, sum);
    store_pack<kPacks>(y.at(d, b), l, work.length, sum);
  });
}

// Sums of a slice: partial[slice][d][lag] = sum dy[l] (u[l - lag] + input_bias) for the lags of a group, and in the
// first one [taps] = sum dy and [taps + 1] = sum dy[l] taps[0 .. l], which is the sum of du. With kLags = kFewTaps also
// du, if it is wanted.
template <class T, int kLags, bool kPacks>
__global__ void __launch_bounds__(kThreads)
    correlate(Work work, ChannelRows<T> dy, ChannelRows<T> u, PerChannel input_bias, ShortWeight weight,
              ChannelRows<T> du, float* partial) {
  constexpr int V = kPerAccess<T>, kSums = kLags + 2;
  constexpr bool kWithDu = kLags == kFewTaps;
  using Gradient = Window<T, kWithDu ? kLags : 1, -1>;
  __shared__ float taps[kMaxTaps], shared[kThreads / 32][kSums];
  const int64_t d = blockIdx.x / work.slices;
  const int first = blockIdx.y * kLags, last = weight.taps - 1;
  share_taps(weight, d, taps);
  float sum_of_taps = 0;
  for (int lag = 0; lag <= last; ++lag) sum_of_taps += taps[lag];
  const float shift = input_bias.at_or_zero(d);
  float sums[kSums] = {};
  for_each_own_pack<V>(work, [&](int64_t b, int64_t l) {
    Gradient g;
    Window<T, kLags, 1> x;
    g.template move_to<kPacks>(dy.at(d, b), l, work.length);
    x.template move_to<kPacks>(u.at(d, b), l - first, work.length);
    x.template add<kPacks>(shift, l - first, work.length);
    float total = 0;
#pragma unroll
    for (int i = 0; i < V; ++i) {
#pragma unroll
      for (int lag = 0; lag < kLags; ++lag) sums[lag] = fmaf(g.at(i, 0), x.at(i, lag), sums[lag]);
      total += g.at(i, 0);
    }
    sums[kLags] += total;
    if (l >= last) {
      sums[kLags + 1] = fmaf(sum_of_taps, total, sums[kLags + 1]);
    } else {
      float inside = 0;
      int lag = 0;
#pragma unroll
      for (int i = 0; i < V; ++i) {
        for (; lag <= min(static_cast<int>(l) + i, last); ++lag) inside += taps[lag];
        sums[kLags + 1] = fmaf(inside, g.at(i, 0), sums[kLags + 1]);
      }
    }
    if constexpr (kWithDu) {
      if (du.data == nullptr) return;
      float sum[V] = {};
      add_taps(taps, weight.taps, g, sum);
      store_pack<kPacks>(du.at(d, b), l, work.length, sum);
    }
  });
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    const float sum = warp_sum(sums[i]);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32][i] = sum;
  }
  __syncthreads();
  const int i = static_cast<int>(threadIdx.x);
  if (i >= (first == 0 ? kSums : kLags) || (i < kLags && first + i > last)) return;
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += shared[warp][i];
  const int64_t row = static_cast<int64_t>(blockIdx.x % work.slices) * work.channels + d;
  partial[row * (weight.taps + 2) + (i < kLags ? first + i : weight.taps + i - kLags)] = sum;
}

// Adds the slices in order.
__global__ void __launch_bounds__(kThreads)
    finish(Work work, int taps, const float* partial, ShortWeight dweight, bool accumulate_weight, PerChannel dbias,
           bool accumulate_bias, PerChannel dinput_bias, bool accumulate_input_bias) {
  const int64_t sums = work.channels * (taps + 2), i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= sums) return;
  const int64_t d = i / (taps + 2);
  const int lag = static_cast<int>(i % (taps + 2));
  float sum = 0;
  for (uint32_t slice = 0; slice < work.slices; ++slice) sum += partial[slice * sums + i];
  const auto give = [sum](float& out, bool accumulate) { out = accumulate ? out + sum : sum; };
  if (lag < taps && dweight.data != nullptr) give(dweight.at_lag(d, lag), accumulate_weight);
  if (lag == taps && dbias.data != nullptr) give(dbias.at(d), accumulate_bias);
  if (lag == taps + 1 && dinput_bias.data != nullptr) give(dinput_bias.at(d), accumulate_input_bias);
}

/// Calls f.template operator()<kPacks>(): whether the rows can be accessed in packs.
template <class T, class F, class... AllRows>
void with_packs(int64_t length, const F& f, const AllRows&... rows) {
  constexpr int V = kPerAccess<T>;
  length % V == 0 && (rows.takes(V) && ...) ? f.template operator()<true>() : f.template operator()<false>();
}

/// y = bias + weight * (x + input_bias) in the direction of time, or against it.
template <class T, int kDirection>
void run_convolve(Stream& stream, const View& x, const View& input_bias, const View& weight, const View& bias,
                  const View& y) {
  const Work work(x, kPerAccess<T>);
  if (work.blocks() == 0) return;
  const ChannelRows<T> from(x), to(y);
  const auto run = [&]<bool kPacks>() {
    const auto kernel = weight.size(1) <= kFewTaps ? convolve<T, kFewTaps, kDirection, kPacks>
                                                   : convolve<T, kMaxTaps, kDirection, kPacks>;
    kernel<<<work.blocks(), kThreads, 0, native(stream)>>>(work, from, PerChannel(input_bias), ShortWeight(weight),
                                                           PerChannel(bias), to);
    launched("short_conv: convolve");
  };
  with_packs<T>(work.length, run, from, to);
}

template <class T>
void backward(Stream& stream, const ShortConvBackward& a) {
  const bool few = a.weight.size(1) <= kFewTaps, wants_sums = a.dweight || a.dbias || a.dinput_bias;
  if (a.du && !(few && wants_sums)) run_convolve<T, -1>(stream, a.dy, {}, a.weight, {}, a.du);
  if (!wants_sums) return;
  const Work work(a.u, kPerAccess<T>);
  const ShortWeight weight(a.weight);
  const int64_t sums = work.channels * (weight.taps + 2);
  if (sums == 0) return;
  const auto partial = stream.scratch<float>(work.slices * sums);
  const ChannelRows<T> dy(a.dy), u(a.u), du(few ? a.du : View{});
  const auto run = [&]<bool kPacks>() {
    const dim3 grid(work.blocks(), few ? 1 : ceil_div(weight.taps, kLagGroup));
    const auto kernel = few ? correlate<T, kFewTaps, kPacks> : correlate<T, kLagGroup, kPacks>;
    kernel<<<grid, kThreads, 0, native(stream)>>>(work, dy, u, PerChannel(a.input_bias), weight, du, partial);
    launched("short_conv_backward: correlate");
  };
  if (work.blocks() > 0) with_packs<T>(work.length, run, dy, u, du);
  finish<<<exact_grid(ceil_div(sums, kThreads)), kThreads, 0, native(stream)>>>(
      work, weight.taps, partial, ShortWeight(a.dweight), a.accumulate_weight, PerChannel(a.dbias), a.accumulate_bias,
      PerChannel(a.dinput_bias), a.accumulate_input_bias);
  launched("short_conv_backward: finish");
}

}  // namespace

void short_conv_forward(Stream& stream, const ShortConvForward& a) {
  dispatch(a.u.dtype, [&]<class T>() { run_convolve<T, 1>(stream, a.u, a.input_bias, a.weight, a.bias, a.y); });
}

void short_conv_backward(Stream& stream, const ShortConvBackward& a) {
  dispatch(a.u.dtype, [&]<class T>() { backward<T>(stream, a); });
}

}  // namespace mara::kernels::cuda
