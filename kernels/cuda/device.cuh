#pragma once
// What device code has in common: storage types and their widening, 16-byte accesses, sums over warps and blocks.
//
// Storage is float or bfloat16, arithmetic is f32. Sums have a fixed order that depends on the shape alone.

#include <cuda_bf16.h>

#include <cstdint>
#include <stdexcept>

#include "core/view.h"
#include "kernels/cuda/cuda.h"

namespace mara::kernels::cuda {

using bfloat16 = __nv_bfloat16;

/// Calls f.template operator()<T>() with float or bfloat16. f64 exists on the CPU only.
template <class F>
void dispatch(Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f32:
      return f.template operator()<float>();
    case Dtype::bf16:
      return f.template operator()<bfloat16>();
    default:
      throw Error(detail::join({"cuda: f32 or bf16 data is required, got ", dtype, "; f64 runs on a CPU only"}));
  }
}

/// For kernels that exist in f32 only: refuses anything else as dispatch does.
inline void require_f32(const char* kernel, Dtype dtype) {
  MARA_CHECK(dtype == Dtype::f32, "cuda: ", kernel, ": f32 data is required, got ", dtype, "; f64 runs on a CPU only");
}

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bfloat16 x) { return __bfloat162float(x); }
template <class T>
__device__ __forceinline__ T narrow_to(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return __float2bfloat16_rn(x);
  }
}

/// 2^x within 2 units in the last place, results below 2^-126 are zero.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// N neighbours, read and written 16 bytes at a time, or in one access if they are fewer. The address must be a
/// multiple of that.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T v[N];
};
/// How many elements of T a 16-byte access holds.
template <class T>
inline constexpr int kPerAccess = 16 / static_cast<int>(sizeof(T));

template <int N, class T>
__device__ __forceinline__ void load(const T* from, float (&to)[N]) {
  const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = widen(pack.v[i]);
}
/// Words to an address that is a multiple of 16 bytes, or of all of them. Spelled out, for the compiler often takes the
/// store of a struct apart again.
template <int Words>
__device__ __forceinline__ void store_words(void* to, const uint32_t (&word)[Words]) {
  uint32_t* at = static_cast<uint32_t*>(to);
  if constexpr (Words % 4 == 0) {
#pragma unroll
    for (int i = 0; i < Words; i += 4) {
      asm volatile("st.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(at + i), "r"(word[i]), "r"(word[i + 1]), "r"(word[i + 2]),
                   "r"(word[i + 3])
                   : "memory");
    }
  } else if constexpr (Words == 2) {
    asm volatile("st.v2.b32 [%0], {%1, %2};" ::"l"(at), "r"(word[0]), "r"(word[1]) : "memory");
  } else {
#pragma unroll
    for (int i = 0; i < Words; ++i) at[i] = word[i];
  }
}
template <int N, class T>
__device__ __forceinline__ void store(T* to, const float (&from)[N]) {
  if constexpr (std::is_same_v<T, float>) {
    uint32_t word[N];
#pragma unroll
    for (int i = 0; i < N; ++i) word[i] = __float_as_uint(from[i]);
    store_words(to, word);
  } else if constexpr (N % 2 == 0) {
    uint32_t word[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {  // two are rounded by one instruction
      const __nv_bfloat162 pair = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
      word[i] = reinterpret_cast<const uint32_t&>(pair);
    }
    store_words(to, word);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = narrow_to<T>(from[i]);
  }
}

/// Whether every address can be accessed 16 bytes (or `bytes`) at a time.
template <class... Pointers>
bool aligned(int bytes, Pointers... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % static_cast<uintptr_t>(bytes) == 0) && ...);
}

template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
  return x;
}

/// Sum over a block of `Threads` (a multiple of 32), known to every thread. `shared` holds Threads / 32 numbers and
/// may be used again after the next barrier.
template <int Threads, class T>
__device__ __forceinline__ T block_sum(T x, T* shared) {
  x = warp_sum(x);
  if constexpr (Threads == 32) return x;
  __syncthreads();  // the last use of `shared`
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  T sum = 0;
#pragma unroll
  for (int warp = 0; warp < Threads / 32; ++warp) sum += shared[warp];
  return sum;
}

}  // namespace mara::kernels::cuda
