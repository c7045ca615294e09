#pragma once
// Products of a warpgroup (four warps, the first a multiple of four) whose operands lie in shared memory. They exist on
// sm_90a alone: elsewhere the bodies are empty, and what needs them asks have_warpgroup_products() before a launch.
//
// An operand is made of cores: 8 x 8 numbers of fp16, 128 contiguous bytes, 8 rows of 8 along the contracted axis. The
// cores lie anywhere at constant distances, and may overlap: a Toeplitz matrix is one run of cores, at 128 bytes in
// both directions. Words written by threads are seen by the products after fence_for_products() and a barrier.

#include "kernels/cuda/mma.cuh"

namespace mara::kernels::cuda {

/// Its shared memory tells which code was loaded.
template <int kBytes>
__global__ void probe_products() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  __shared__ char marker[kBytes];
  asm volatile("" ::"r"(shared_address(marker)) : "memory");
#endif
}
/// Whether the code that this card runs has them, which depends on what it was compiled for, too.
inline bool have_warpgroup_products() {
  constexpr int kBytes = 4096;
  static const bool have = [] {
    cudaFuncAttributes attributes;
    MARA_CUDA(cudaFuncGetAttributes(&attributes, probe_products<kBytes>));
    return attributes.sharedSizeBytes >= kBytes;
  }();
  return have;
}

/// An operand 16 deep, from its first core; the next core along the contracted axis is `along` bytes away, the next
/// eight rows `across`. Moved by adding bytes / 16.
__device__ __forceinline__ uint64_t cores_at(uint32_t address, uint32_t along, uint32_t across) {
  return static_cast<uint64_t>(address >> 4) | static_cast<uint64_t>(along >> 4) << 16 |
         static_cast<uint64_t>(across >> 4) << 32;
}

/// An operand of rows of 128 bytes, the contracted axis along them, whose 16-byte pieces are permuted: that of row r at
/// place j is piece j ^ r % 8. Rows begin at a multiple of 1024 bytes; the operand, 32 bytes of each, at a multiple of
/// 32 bytes in them.
__device__ __forceinline__ uint64_t permuted_rows_at(uint32_t address) {
  return static_cast<uint64_t>(address >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define MARA_4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define MARA_16(i) MARA_4(i), MARA_4(i + 4), MARA_4(i + 8), MARA_4(i + 12)

__device__ __forceinline__ void fence_for_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void finish_products() {
  asm volatile("wgmma.commit_group.sync.aligned;\n wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

/// c (64 x 128) += a b^T. Warp w of the four holds rows 16 w and on; c[4 n ...] is the accumulator of mma.m16n8k16 for
/// columns 8 n and on.
__device__ __forceinline__ void multiply_cores(float (&c)[64], uint64_t a, uint64_t b) {
  asm volatile(
      "{ .reg .pred p; setp.eq.b32 p, 0, 0; "
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
      "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, "
      "%59, %60, %61, %62, %63}, %64, %65, p, 1, 1, 0, 0; }"
      : MARA_16(0), MARA_16(16), MARA_16(32), MARA_16(48)
      : "l"(a), "l"(b));
}

#undef MARA_16
#undef MARA_4
#else
__device__ __forceinline__ void fence_for_products() {}
__device__ __forceinline__ void begin_products() {}
__device__ __forceinline__ void finish_products() {}
__device__ __forceinline__ void multiply_cores(float (&)[64], uint64_t, uint64_t) {}
#endif

}  // namespace mara::kernels::cuda
