// Output layer and cross-entropy, chunk by chunk of tokens: logits = x w^T, a kernel over their rows, and the two
// products of the gradient. Bound by the three products (6 N V D operations); the kernel between them by memory.
//
// Logits are f32. Rounded to bf16 they would be half the bytes, but a logit near 10 would be off by up to 0.03, which
// shows in every loss and turns close predictions. The price, for V = 50304, D = 768 and 64K tokens: 13 GB more to
// write and read, 3 ms of an H200 beside some 25 ms of products. The gradient has the dtype of x and replaces the
// logits, row by row, so that there is no second buffer.
//
// A chunk is as long as kLogitsBytes allows. Each chunk reads w twice and reads and writes dw once (0.5 GB, 0.1 ms, for
// the sizes above), and the product with the fewest tiles, dx, needs thousands of tokens to fill the GPU: with 1152 MiB
// it has 43 x 3 tiles of 128 x 256 for 132 multiprocessors, with 512 MiB half of them would wait.
//
// The kernel: one block per row. Pass 1 finds the maximum, its place and the sum of exponentials, rescaled whenever the
// maximum grows; pass 2 writes the gradient. In between as much of the row as fits lies in shared memory, two blocks to
// a multiprocessor so that one reads while the other writes; the rest is read again from L2. (A whole row of 50304 in
// shared memory, one block to a multiprocessor, took 0.67 ms for 5504 rows: 58 % of the memory's rate.)

#include <cfloat>

#include "kernels/common/matrices.h"
#include "kernels/cuda/device.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr int64_t kLogitsBytes = int64_t{1152} << 20;
constexpr int64_t kTile = 128;        // tokens: of the products' tiles
constexpr int kPack = 4;              // logits per access
constexpr int kLoads = 4;             // accesses under way in a thread
constexpr int64_t kShortRow = 14336;  // up to here small blocks, several of which fit a multiprocessor

// Largest number seen, where it was first, and the sum of exponentials less it. Starts from a finite number, so that
// differences of infinities do not arise where logits are -inf.
struct Online {
  float max, sum;
  int place;

  // values[u][j] is logit first + u * stride + j.
  __device__ __forceinline__ void add(const float (&values)[kLoads][kPack], int first, int stride) {
    float top = values[0][0];
#pragma unroll
    for (int i = 1; i < kLoads * kPack; ++i) top = fmaxf(top, values[i / kPack][i % kPack]);
    if (top > max) {
      sum *= __expf(max - top);
      max = top;
#pragma unroll
      for (int i = kLoads * kPack - 1; i >= 0; --i) {
        if (values[i / kPack][i % kPack] == top) place = first + i / kPack * stride + i % kPack;
      }
    }
#pragma unroll
    for (int i = 0; i < kLoads * kPack; ++i) sum += __expf(values[i / kPack][i % kPack] - max);
  }
  __device__ __forceinline__ void merge(const Online& other) {
    const bool better = other.max > max || (other.max == max && other.place < place);
    const float top = fmaxf(max, other.max);
    sum = sum * __expf(max - top) + other.sum * __expf(other.max - top);
    max = top;
    place = better ? other.place : place;
  }
  __device__ __forceinline__ Online from_lane_below(int distance) const {
    Online other;
    other.max = __shfl_down_sync(0xffffffffu, max, distance);
    other.sum = __shfl_down_sync(0xffffffffu, sum, distance);
    other.place = __shfl_down_sync(0xffffffffu, place, distance);
    return other;
  }
};

struct LogitRows {
  float* logits;  // row i at i * pitch; a multiple of kPack, so that the last access of a row stays in it
  int64_t pitch;
  int n;               // logits in a row
  const int* targets;  // of the chunk, as all that follows
  float* loss;
  int* predictions;  // or null
};

// Writes the gradient over the logits if `Gradient`; the first `keep` logits, a multiple of kPack, lie in shared memory
// between the passes.
template <int Threads, bool Gradient, class T>
__global__ void __launch_bounds__(Threads) cross_entropy_kernel(const LogitRows args, int keep) {
  extern __shared__ __align__(16) float kept[];
  __shared__ Online parts[Threads / 32];
  const int64_t row = blockIdx.x;
  float* const logits = args.logits + row * args.pitch;
  const int n = args.n, target = args.targets[row];
  const bool ignored = target == kIgnoredTarget;
  const float chosen = threadIdx.x == 0 && !ignored ? logits[target] : 0;

  Online online{-FLT_MAX, 0, 0};
  constexpr int kStride = Threads * kPack;
  for (int first = static_cast<int>(threadIdx.x) * kPack; first < n; first += kLoads * kStride) {
    float values[kLoads][kPack];
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      if (first + u * kStride < n) load(logits + first + u * kStride, values[u]);
    }
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const int i = first + u * kStride;
      if (Gradient && i < keep) store(kept + i, values[u]);
#pragma unroll
      for (int j = 0; j < kPack; ++j) values[u][j] = i + j < n ? values[u][j] : -INFINITY;  // nothing beyond the row
    }
    online.add(values, first, kStride);
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) online.merge(online.from_lane_below(distance));
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = online;
  __syncthreads();
  online = parts[0];
  for (int warp = 1; warp < Threads / 32; ++warp) online.merge(parts[warp]);
  if (threadIdx.x == 0) {
    args.loss[row] = ignored ? 0 : logf(online.sum) + (online.max - chosen);
    if (args.predictions != nullptr) args.predictions[row] = online.place;
  }
  if constexpr (!Gradient) return;

  const float factor = ignored ? 0 : 1 / online.sum;
  T* const gradient = reinterpret_cast<T*>(logits);
  for (int round = 0; round < n; round += kLoads * kStride) {
    const int first = round + static_cast<int>(threadIdx.x) * kPack;
    float values[kLoads][kPack];
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const int i = first + u * kStride;
      if (i < n) load(i < keep ? kept + i : logits + i, values[u]);
    }
    // A narrower gradient ends up where logits of this round, or of an earlier one, are read.
    if constexpr (sizeof(T) < sizeof(float)) __syncthreads();
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const int i = first + u * kStride;
      if (i >= n) continue;
      float out[kPack];
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        const float onehot = i + j == target ? 1 : 0;
        out[j] = ignored ? 0 : __expf(values[u][j] - online.max) * factor - onehot;
      }
      store(gradient + i, out);
    }
  }
}

// One block: the number of targets that are not ignored. Sums of ones are exact in f32 up to 2^24.
constexpr int kCountThreads = 1024;
__global__ void __launch_bounds__(kCountThreads) count_kernel(const int* targets, int64_t n, float* count) {
  __shared__ float shared[kCountThreads / 32];
  int found = 0;
#pragma unroll 8
  for (int64_t i = threadIdx.x; i < n; i += kCountThreads) found += targets[i] != kIgnoredTarget;
  const float sum = block_sum<kCountThreads>(static_cast<float>(found), shared);
  if (threadIdx.x == 0) *count = sum;
}

template <int Threads, bool Gradient, class T>
void launch(const Stream& stream, const LogitRows& rows, int64_t count) {
  const auto kernel = cross_entropy_kernel<Threads, Gradient, T>;
  int64_t bytes = 0;
  if (Gradient) {
    constexpr int64_t kOther = 2048;  // more than the kernel's other shared memory and the system's
    const int64_t row = ceil_div(rows.n, kPack) * kPack * static_cast<int64_t>(sizeof(float));
    bytes = std::min(row, (device_info().shared_bytes / 2 - kOther) / 16 * 16);
    MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  }
  const int keep = static_cast<int>(bytes / static_cast<int64_t>(sizeof(float)));
  kernel<<<static_cast<unsigned>(count), Threads, bytes, native(stream)>>>(rows, keep);
  launched("linear_cross_entropy");
}

template <class T>
void cross_entropy(const Stream& stream, const LogitRows& rows, int64_t count, bool gradient) {
  const auto with = [&]<int Threads>() {
    gradient ? launch<Threads, true, T>(stream, rows, count) : launch<Threads, false, T>(stream, rows, count);
  };
  rows.n <= kShortRow ? with.template operator()<256>() : with.template operator()<512>();
}

// Chunks of equal length, whole tiles.
int64_t chunk_tokens(int64_t tokens, int64_t pitch) {
  const int64_t most = std::max(kTile, kLogitsBytes / (pitch * static_cast<int64_t>(sizeof(float))) / kTile * kTile);
  const int64_t chunks = ceil_div(tokens, most);
  const int64_t even = ceil_div(tokens, chunks);
  return std::min(tokens, ceil_div(even, kTile) * kTile);
}

template <class T>
void run(Stream& stream, const LinearCrossEntropy& args) {
  const int64_t tokens = args.x.size(0), n = args.w.size(0);
  count_kernel<<<1, kCountThreads, 0, native(stream)>>>(args.targets.ptr<int>(), tokens, args.count.ptr<float>());
  launched("linear_cross_entropy: count");
  if (tokens == 0) {
    if (args.dw) fill(stream, {.y = args.dw});
    return;
  }
  const int64_t pitch = ceil_div(n, 8) * 8;  // 16 bytes in either dtype
  const int64_t chunk = chunk_tokens(tokens, pitch);
  const int64_t gradient_pitch = pitch * static_cast<int64_t>(sizeof(float) / sizeof(T));
  const View w = rows_of<T>(args.w, 0, n);
  const auto logits = stream.scratch<float>(chunk * pitch);
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    const int64_t count = std::min(chunk, tokens - begin);
    const View x = rows_of<T>(args.x, begin, count);
    matmul(stream, {.a = x, .b = transposed(w), .c = matrix(logits, Dtype::f32, count, n, pitch)});
    const LogitRows rows{.logits = logits,
                         .pitch = pitch,
                         .n = static_cast<int>(n),
                         .targets = args.targets.ptr<int>() + begin,
                         .loss = args.loss.ptr<float>() + begin,
                         .predictions = args.predictions ? args.predictions.ptr<int>() + begin : nullptr};
    cross_entropy<T>(stream, rows, count, args.dx || args.dw);
    const View gradient = matrix(logits, args.x.dtype, count, n, gradient_pitch);
    if (args.dx) matmul(stream, {.a = gradient, .b = w, .c = rows_of<T>(args.dx, begin, count)});
    if (args.dw) {
      matmul(stream, {.a = transposed(gradient), .b = x, .c = rows_of<float>(args.dw, 0, n), .accumulate = begin > 0});
    }
  }
}

}  // namespace

void linear_cross_entropy(Stream& stream, const LinearCrossEntropy& args) {
  dispatch(args.x.dtype, [&]<class T>() { run<T>(stream, args); });
}

}  // namespace mara::kernels::cuda
