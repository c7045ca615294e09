// Decaying windows: one pass over memory (for_each.cuh), the exponentials computed where they are used; for the rates'
// gradients a block sums a channel.

#include "kernels/cuda/for_each.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr int kSumThreads = 256;

template <int N>
struct Decaying {
  int64_t length;
  const float *x, *rate, *time;
  float* y;
  float shift;
  bool vector;
  Divisor items_of_a_channel;

  struct Values {
    Loaded<float, N> x, time;
    float rate;
  };
  __device__ Values read(int64_t item) const {
    const auto [d, i] = items_of_a_channel(item);
    return {read_some<N>(x + d * length + i * N, length - i * N, vector),
            read_some<N>(time + i * N, length - i * N, vector), rate[d]};
  }
  __device__ void write(int64_t item, const Values& values) const {
    const auto [d, i] = items_of_a_channel(item);
    float out[N];
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = values.x[j] * (expf(-fabsf(values.rate) * values.time[j]) + shift);
    write_some<N>(y + d * length + i * N, out, length - i * N, vector);
  }
};

__global__ void __launch_bounds__(kSumThreads)
    rate_kernel(const float* dy, const float* x, const float* rate, const float* time, float* drate, int64_t length,
                bool accumulate) {
  __shared__ float shared[kSumThreads / 32];
  const int64_t d = blockIdx.x;
  const float slope = -fabsf(rate[d]);
  float sum = 0;
  for (int64_t l = threadIdx.x; l < length; l += kSumThreads) {
    sum += dy[d * length + l] * x[d * length + l] * (time[l] * expf(slope * time[l]));
  }
  sum = block_sum<kSumThreads>(sum, shared);
  if (threadIdx.x > 0) return;
  const float sign = rate[d] > 0 ? 1.0f : rate[d] < 0 ? -1.0f : 0.0f;
  drate[d] = (accumulate ? drate[d] : 0.0f) - sign * sum;
}

}  // namespace

void decay_window(Stream& stream, const DecayWindow& args) {
  require_f32("decay_window", args.x.dtype);
  constexpr int N = kItem<float>;
  const int64_t channels = args.x.size(0), length = args.x.size(1), items = ceil_div(length, N);
  if (channels * length == 0) return;
  const float *x = args.x.ptr<float>(), *time = args.time.ptr<float>();
  float* y = args.y.ptr<float>();
  const Decaying<N> op{length,
                       x,
                       args.rate.ptr<float>(),
                       time,
                       y,
                       static_cast<float>(args.shift),
                       length % N == 0 && aligned(16, x, time, y),
                       Divisor(items)};
  for_each(stream, "decay_window", channels * items, op);
}

void decay_window_rate(Stream& stream, const DecayWindowRate& args) {
  require_f32("decay_window_rate", args.x.dtype);
  const int64_t channels = args.x.size(0);
  if (channels == 0) return;
  rate_kernel<<<static_cast<unsigned>(channels), kSumThreads, 0, native(stream)>>>(
      args.dy.ptr<float>(), args.x.ptr<float>(), args.rate.ptr<float>(), args.time.ptr<float>(),
      args.drate.ptr<float>(), args.x.size(1), args.accumulate);
  launched("decay_window_rate");
}

}  // namespace mara::kernels::cuda
