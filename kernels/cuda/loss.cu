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
// The kernel: one block per row, two to a multiprocessor so that one reads while the other writes. Pass 1 finds the
// maximum, its place and the sum of exponentials, all less the largest logit that the warp has seen so far; pass 2
// writes the gradient. For a bf16 gradient the exponentials wait in shared memory in between, as fp16 of at most 1: off
// by 2^-11 of themselves, an eighth of what bf16 rounds, or 2^-25 of the largest. So a row of 50304 is read once. What
// does not fit is read again, and an f32 gradient always.

#include <cuda_fp16.h>

#include <cfloat>
#include <climits>
#include <numbers>

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

struct LogitRows {
  float* logits;  // row i at i * pitch; a multiple of kPack, so that the last access of a row stays in it
  int64_t pitch;
  int n;               // logits in a row
  const int* targets;  // of the chunk, as all that follows
  float* loss;
  int* predictions;  // or null
};

// exp(x - top).
__device__ __forceinline__ float exponential(float x, float top) {
  return fast_exp2((x - top) * std::numbers::log2e_v<float>);
}

// The largest of a warp's numbers; of NaNs alone, one.
__device__ __forceinline__ float warp_largest(float x) {
  const auto ordered = [](int bits) { return bits ^ (bits >> 31 & INT_MAX); };  // as integers, and back
  return __int_as_float(ordered(__reduce_max_sync(0xffffffffu, ordered(__float_as_int(x)))));
}

// What a warp knows of its share of a row. Starts from a finite number, so that differences of infinities do not arise
// where logits are -inf.
struct Share {
  float top = -FLT_MAX, sum = 0;  // the largest logit, and the sum of exponentials less it
  int round = 0;                  // in which the largest came first
};

// In a round each of the threads takes kLoads packs.
template <int Threads>
struct Round {
  static constexpr int kStride = Threads * kPack, kLogits = kLoads * kStride;
  float x[kLoads][kPack];

  __device__ __forceinline__ static int first(int round) {
    return round * kLogits + static_cast<int>(threadIdx.x) * kPack;
  }
  __device__ __forceinline__ void read(const float* logits, int round, int n) {
    const int begin = first(round);
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const int i = begin + u * kStride;
      if (i < n) load(logits + i, x[u]);
#pragma unroll
      for (int j = 0; j < kPack; ++j) {
        if (i + j >= n) x[u][j] = -INFINITY;
      }
    }
  }
  template <class F>
  __device__ __forceinline__ void for_each(const F& f) {
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
#pragma unroll
      for (int j = 0; j < kPack; ++j) f(x[u][j]);
    }
  }
};

// Writes the gradient over the logits if `Gradient`; the exponentials of the first `kept_rounds` lie in shared memory
// between the passes, behind what each warp took off the logits.
template <int Threads, bool Gradient, class T>
__global__ void __launch_bounds__(Threads) cross_entropy_kernel(const LogitRows args, int kept_rounds) {
  constexpr int kWarps = Threads / 32;
  constexpr bool kInPlace = sizeof(T) == sizeof(float);
  extern __shared__ __align__(16) float tops[];
  __shared__ Share shares[kWarps];
  __shared__ int place;
  uint2* const kept = reinterpret_cast<uint2*>(tops + kept_rounds * kWarps);  // of kPack
  const int64_t row = blockIdx.x;
  float* const logits = args.logits + row * args.pitch;
  const int n = args.n, target = args.targets[row], rounds = ceil_div(n, Round<Threads>::kLogits);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const bool ignored = target == kIgnoredTarget;
  const float chosen = threadIdx.x == 0 && !ignored ? logits[target] : 0;

  Share share;
  for (int round = 0; round < rounds; ++round) {
    Round<Threads> own;
    own.read(logits, round, n);
    float largest = own.x[0][0];
    own.for_each([&](float x) { largest = fmaxf(largest, x); });
    largest = warp_largest(largest);
    if (largest > share.top) {
      share.sum *= exponential(share.top, largest);
      share.top = largest, share.round = round;
    }
    own.for_each([&](float& x) { share.sum += x = exponential(x, share.top); });
    if (round < kept_rounds) {
      if (lane == 0) tops[round * kWarps + warp] = share.top;
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        const int i = Round<Threads>::first(round) + u * Round<Threads>::kStride;
        const __half2 low = __floats2half2_rn(own.x[u][0], own.x[u][1]);
        const __half2 high = __floats2half2_rn(own.x[u][2], own.x[u][3]);
        if (i < n) kept[i / kPack] = {reinterpret_cast<const uint32_t&>(low), reinterpret_cast<const uint32_t&>(high)};
      }
    }
  }
  share.sum = warp_sum(share.sum);
  if (lane == 0) shares[warp] = share;
  if (threadIdx.x == 0) place = INT_MAX;
  __syncthreads();
  const Share other = lane < kWarps ? shares[lane] : Share{};
  const float top = warp_max(other.top), sum = warp_sum(other.sum * exponential(other.top, top));
  if (threadIdx.x == 0) args.loss[row] = ignored ? 0 : logf(sum) + (top - chosen);
  if (args.predictions != nullptr) {
    if (share.top == top) {
      Round<Threads> own;
      own.read(logits, share.round, n);
      int first = INT_MAX;
#pragma unroll
      for (int i = kLoads * kPack - 1; i >= 0; --i) {
        if (own.x[i / kPack][i % kPack] != top) continue;
        first = Round<Threads>::first(share.round) + i / kPack * Round<Threads>::kStride + i % kPack;
      }
      atomicMin(&place, first);
    }
    __syncthreads();
    if (threadIdx.x == 0) args.predictions[row] = place == INT_MAX ? 0 : place;
  }
  if constexpr (!Gradient) return;

  T* const gradient = reinterpret_cast<T*>(logits);
  for (int round = 0; round < rounds; ++round) {
    Round<Threads> own{};
    const int first = Round<Threads>::first(round);
    if (!ignored && round < kept_rounds) {
      const float factor = exponential(tops[round * kWarps + warp], top) / sum;
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        const int i = first + u * Round<Threads>::kStride;
        const uint2 four = i < n ? kept[i / kPack] : uint2{};
        const float2 low = __half22float2(reinterpret_cast<const __half2&>(four.x));
        const float2 high = __half22float2(reinterpret_cast<const __half2&>(four.y));
        own.x[u][0] = low.x * factor, own.x[u][1] = low.y * factor;
        own.x[u][2] = high.x * factor, own.x[u][3] = high.y * factor;
      }
    } else if (!ignored) {
      const float factor = 1 / sum;
      own.read(logits, round, n);
      own.for_each([&](float& x) { x = exponential(x, top) * factor; });
    }
    // A narrower gradient ends up where logits of this round, or of an earlier one, are read; not so in kept rounds.
    if (!kInPlace && round >= kept_rounds) __syncthreads();
#pragma unroll
    for (int u = 0; u < kLoads; ++u) {
      const int i = first + u * Round<Threads>::kStride;
      if (target >= i) {
#pragma unroll
        for (int j = 0; j < kPack; ++j) own.x[u][j] -= i + j == target ? 1 : 0;
      }
      if (i < n) store(gradient + i, own.x[u]);
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
  int64_t kept_rounds = 0, bytes = 0;
  if (Gradient && sizeof(T) < sizeof(float)) {
    constexpr int64_t kOther = 2048;  // more than the kernel's other shared memory and the system's
    constexpr int64_t kRound = Round<Threads>::kLogits;
    const auto bytes_for = [&](int64_t rounds) {
      const int64_t logits = std::min(rounds * kRound, ceil_div<int64_t>(rows.n, kPack) * kPack);
      return rounds * Threads / 32 * static_cast<int64_t>(sizeof(float)) + logits * int64_t{2};
    };
    kept_rounds = ceil_div(rows.n, kRound);
    while (bytes_for(kept_rounds) > device_info().shared_bytes / 2 - kOther) --kept_rounds;
    bytes = bytes_for(kept_rounds);
    MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  }
  kernel<<<static_cast<unsigned>(count), Threads, bytes, native(stream)>>>(rows, static_cast<int>(kept_rounds));
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
