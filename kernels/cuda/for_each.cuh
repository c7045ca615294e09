#pragma once
// One pass over memory: the frame of the kernels that are bound by its bandwidth.
//
// Work is a number of items, each a few neighbouring elements. A thread reads kUnroll items before it writes the
// first, so that enough bytes are under way; the items of a warp are neighbours, so that accesses are coalesced.

#include <algorithm>

#include "kernels/cuda/device.cuh"

namespace mara::kernels::cuda {

/// Elements of an item where arrays of all these types are passed over together: 16 bytes of the widest.
template <class... T>
inline constexpr int kItem = 16 / static_cast<int>(std::max({sizeof(T)...}));

/// Division of any i >= 0 by a number >= 1 that is fixed at the launch, by a multiplication.
class Divisor {
 public:
  explicit Divisor(int64_t divisor = 1) : divisor_(static_cast<uint64_t>(divisor)), inverse_(~uint64_t{0} / divisor_) {}

  struct Split {
    int64_t quotient, remainder;
  };
  __device__ __forceinline__ Split operator()(int64_t i) const {
    // inverse >= 2^64 / divisor - 1, so i inverse / 2^64 > i / divisor - 1/2: the quotient is right or 1 too small.
    uint64_t quotient = __umul64hi(static_cast<uint64_t>(i), inverse_);
    uint64_t remainder = static_cast<uint64_t>(i) - quotient * divisor_;
    if (remainder >= divisor_) {
      ++quotient;
      remainder -= divisor_;
    }
    return {static_cast<int64_t>(quotient), static_cast<int64_t>(remainder)};
  }
  __device__ __forceinline__ int64_t divisor() const { return static_cast<int64_t>(divisor_); }

 private:
  uint64_t divisor_, inverse_;
};

/// N neighbours as loaded. Words, since the compiler would take elements apart at once, and so wait for them, where
/// they may come by either of two ways.
template <class T, int N>
struct Loaded {
  static constexpr int kPerWord = 4 / static_cast<int>(sizeof(T)), kWords = ceil_div(N, kPerWord);
  uint32_t word[kWords];

  __device__ __forceinline__ float operator[](int j) const {
    if constexpr (std::is_same_v<T, float>) {
      return __uint_as_float(word[j]);
    } else {
      return __uint_as_float(j % 2 == 0 ? word[j / 2] << 16 : word[j / 2] & 0xffff0000u);
    }
  }
};

/// The first min(N, count) elements at an address, in one access if `vector` says that it is aligned for that.
template <int N, class T>
__device__ __forceinline__ Loaded<T, N> read_some(const T* from, int64_t count, bool vector) {
  using Words = Loaded<T, N>;
  Words loaded;
  if (vector && count >= N) {
    const auto pack = *reinterpret_cast<const Pack<uint32_t, Words::kWords>*>(from);
#pragma unroll
    for (int i = 0; i < Words::kWords; ++i) loaded.word[i] = pack.v[i];
    return loaded;
  }
  using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;
#pragma unroll
  for (int i = 0; i < Words::kWords; ++i) {
    loaded.word[i] = 0;
#pragma unroll
    for (int j = 0; j < Words::kPerWord; ++j) {
      const int at = i * Words::kPerWord + j;
      if (at < N && at < count) loaded.word[i] |= uint32_t{reinterpret_cast<const Bits*>(from)[at]} << (16 * j);
    }
  }
  return loaded;
}
template <int N, class T>
__device__ __forceinline__ void write_some(T* to, const float (&from)[N], int64_t count, bool vector) {
  if (vector && count >= N) return store(to, from);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    if (j < count) to[j] = narrow_to<T>(from[j]);
  }
}

inline constexpr int kForEachThreads = 256;

template <int kUnroll, class Op>
__global__ void __launch_bounds__(kForEachThreads) for_each_kernel(int64_t items, const __grid_constant__ Op op) {
  constexpr int kBlock = kForEachThreads * kUnroll;
  for (int64_t first = int64_t{blockIdx.x} * kBlock + threadIdx.x; first < items;
       first += int64_t{gridDim.x} * kBlock) {
    typename Op::Values values[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u * kForEachThreads < items) values[u] = op.read(first + u * kForEachThreads);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (first + u * kForEachThreads < items) op.write(first + u * kForEachThreads, values[u]);
    }
  }
}

/// op.write(item, op.read(item)) for every item. Values, what read returns, should be as loaded: a conversion would
/// wait for the load. Several items are read before one is written, so an item reads nothing that another writes.
template <int kUnroll = 2, class Op>
void for_each(Stream& stream, const char* kernel, int64_t items, const Op& op) {
  if (items == 0) return;
  constexpr int kWaves = 64;  // many short blocks: the last of them leave the GPU at about the same time
  const int blocks = grid_for(items, kForEachThreads * kUnroll, kWaves);
  for_each_kernel<kUnroll><<<blocks, kForEachThreads, 0, native(stream)>>>(items, op);
  launched(kernel);
}

}  // namespace mara::kernels::cuda
