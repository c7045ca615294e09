// The optimiser's step over the flat buffers: the sum of squares of the gradient, and AdamW. Both are bound by memory,
// 4 and 28 (30 with the bf16 copy) bytes per parameter.
//
// AdamW: as many blocks as are resident at once, for what they all need first (bias corrections, clipping, the report)
// costs microseconds. They stride over chunks; a thread finds its range once a chunk and moves on from there.

#include <cstdint>
#include <limits>

#include "kernels/cuda/for_each.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPack = 4;  // elements of a 16-byte access

// Stage 1 writes a sum per block, whose number depends on n alone; stage 2 is one block.
constexpr int kSquaresBlocks = 4096, kSquaresUnroll = 4;

__global__ void __launch_bounds__(kThreads) square_sums(const float* x, int64_t n, bool vector, double* sums) {
  __shared__ double shared[kThreads / 32];
  double sum[kPack] = {};
  const int64_t stride = int64_t{gridDim.x} * kThreads * kSquaresUnroll * kPack;
  for (int64_t first = (int64_t{blockIdx.x} * kThreads * kSquaresUnroll + threadIdx.x) * kPack; first < n;
       first += stride) {
    Loaded<float, kPack> loaded[kSquaresUnroll];
#pragma unroll
    for (int u = 0; u < kSquaresUnroll; ++u) {
      const int64_t i = first + u * kThreads * kPack;
      loaded[u] = read_some<kPack>(x + i, n - i, vector);
    }
#pragma unroll
    for (int u = 0; u < kSquaresUnroll; ++u) {
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        const double value = loaded[u][j];
        sum[j] += value * value;
      }
    }
  }
  const double total = block_sum<kThreads>((sum[0] + sum[1]) + (sum[2] + sum[3]), shared);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

__global__ void __launch_bounds__(kThreads) sum_of_sums(const double* sums, int count, double* y) {
  __shared__ double shared[kThreads / 32];
  double sum = 0;
#pragma unroll 8
  for (int i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
  sum = block_sum<kThreads>(sum, shared);
  if (threadIdx.x == 0) *y = sum;
}

/// One number in device memory.
struct Number {
  const void* data;
  bool f64;

  explicit Number(const View& view) : data(view.data), f64(view.dtype == Dtype::f64) {}
  __device__ double operator()() const {
    return f64 ? *static_cast<const double*>(data) : double{*static_cast<const float*>(data)};
  }
};

struct Update {
  float *w, *m, *v;
  const float* grad;
  bfloat16* compute;  // or null
  int64_t n;
  const AdamWRange* ranges;
  int64_t range_count;
  Number loss_sum, count;
  const double* grad_squares;
  const StepScalars* scalars;
  StepReport* report;
  float beta1, beta2, eps, clip;
  bool vector;
};

// What all elements have in common: products of the formula's scalars, formed in f64.
struct Common {
  float gradient;  // factor of the summed gradient
  float inverse2;  // 1 / (1 - beta2^t)
  double lr, inverse1;
  bool usable;

  __device__ static Common of(const Update& a, StepReport& report) {
    const double count = a.count(), loss_sum = a.loss_sum();
    const double norm = count > 0 ? sqrt(*a.grad_squares) / count : 0;
    const bool usable = count > 0 && isfinite(norm) && isfinite(loss_sum);
    report = {loss_sum / count, norm, usable ? 0 : 1};
    const double clip_factor = a.clip > 0 && norm > a.clip ? a.clip / norm : 1;
    const double t = static_cast<double>(a.scalars->step + 1);
    return {static_cast<float>(clip_factor / count), static_cast<float>(1 / (1 - pow(static_cast<double>(a.beta2), t))),
            a.scalars->lr, 1 / (1 - pow(static_cast<double>(a.beta1), t)), usable};
  }
};

// The ranges in order, from the one that holds an element or follows it.
class RangeCursor {
 public:
  __device__ RangeCursor(const Update& a, const Common& common, int64_t first)
      : next_(a.ranges), last_(a.ranges + a.range_count), common_(common) {
    for (int64_t count = a.range_count; count > 0;) {  // the first that ends behind `first`
      const int64_t half = count / 2;
      const bool before = next_[half].end <= first;
      next_ += before ? half + 1 : 0;
      count = before ? count - half - 1 : half;
    }
    take();
  }
  __device__ void move_to(int64_t element) {
    while (end <= element) take();
  }

  int64_t begin, end;
  float rate, decay;

 private:
  __device__ void take() {
    if (next_ == last_) {
      begin = end = std::numeric_limits<int64_t>::max();
      return;
    }
    const AdamWRange range = *next_++;
    const double lr = common_.lr * range.lr_scale;
    begin = range.begin;
    end = range.end;
    rate = static_cast<float>(lr * common_.inverse1);
    decay = static_cast<float>(lr * range.weight_decay);
  }

  const AdamWRange *next_, *last_;
  const Common& common_;
};

template <int N>
__device__ __forceinline__ void update(const Update& a, const Common& common, const RangeCursor& range, int64_t i) {
  float w[N], grad[N], m[N], v[N];
  load(a.w + i, w);
  load(a.grad + i, grad);
  load(a.m + i, m);
  load(a.v + i, v);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float g = grad[j] * common.gradient;
    m[j] = a.beta1 * m[j] + (1 - a.beta1) * g;
    v[j] = a.beta2 * v[j] + (1 - a.beta2) * (g * g);
    w[j] -= range.rate * (m[j] / (sqrtf(v[j] * common.inverse2) + a.eps)) + range.decay * w[j];
  }
  store(a.m + i, m);
  store(a.v + i, v);
  store(a.w + i, w);
  if (a.compute != nullptr) store(a.compute + i, w);
}

constexpr int kResident = 4;      // blocks of a multiprocessor
constexpr int64_t kChunk = 4096;  // elements

__global__ void __launch_bounds__(kThreads, kResident) adamw_step(const __grid_constant__ Update a) {
  __shared__ Common common;
  if (threadIdx.x == 0) {
    StepReport report;
    common = Common::of(a, report);
    if (blockIdx.x == 0) *a.report = report;
  }
  __syncthreads();
  if (!common.usable) return;
  for (int64_t chunk = blockIdx.x * kChunk; chunk < a.n; chunk += gridDim.x * kChunk) {
    const int64_t end = min(a.n, chunk + kChunk);
    int64_t i = chunk + threadIdx.x * kPack;
    for (RangeCursor range(a, common, i); i < end; i += kThreads * kPack) {
      range.move_to(i);
      if (a.vector && range.begin <= i && i + kPack <= range.end) {
        update<kPack>(a, common, range, i);
        continue;
      }
      for (int64_t j = i; j < min(end, i + kPack); ++j) {
        range.move_to(j);
        if (range.begin <= j) update<1>(a, common, range, j);
      }
    }
  }
}

}  // namespace

void sum_of_squares(Stream& stream, const SumOfSquares& args) {
  require_f32("sum_of_squares", args.x.dtype);
  const int64_t n = args.x.numel();
  const float* x = args.x.ptr<float>();
  constexpr int64_t kPerBlock = kThreads * kSquaresUnroll * kPack;
  const int blocks = static_cast<int>(std::clamp<int64_t>(ceil_div(n, kPerBlock), 1, kSquaresBlocks));
  const auto sums = stream.scratch<double>(blocks);
  square_sums<<<blocks, kThreads, 0, native(stream)>>>(x, n, aligned(16, x), sums);
  launched("sum_of_squares");
  sum_of_sums<<<1, kThreads, 0, native(stream)>>>(sums, blocks, args.y.ptr<double>());
  launched("sum_of_squares");
}

void adamw(Stream& stream, const AdamW& args) {
  require_f32("adamw", args.master.dtype);
  float *w = args.master.ptr<float>(), *m = args.m.ptr<float>(), *v = args.v.ptr<float>();
  const float* grad = args.grad.ptr<float>();
  bfloat16* compute = args.compute.ptr<bfloat16>();
  const Update update{w,
                      m,
                      v,
                      grad,
                      compute,
                      args.master.numel(),
                      args.ranges,
                      args.range_count,
                      Number(args.loss_sum),
                      Number(args.count),
                      args.grad_squares.ptr<double>(),
                      args.scalars,
                      args.report,
                      args.beta1,
                      args.beta2,
                      args.eps,
                      args.clip,
                      aligned(16, w, m, v, grad, compute)};
  adamw_step<<<grid_for(update.n, kChunk, kResident), kThreads, 0, native(stream)>>>(update);
  launched("adamw");
}

}  // namespace mara::kernels::cuda
