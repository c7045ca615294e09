#pragma once
// What host code of the CUDA backend has in common.

#include <cuda_runtime_api.h>

#include <type_traits>

#include "core/error.h"
#include "core/stream.h"

namespace mara::kernels::cuda {

/// Throws Failure with the call, the library's name of the error and its message.
void check(cudaError_t status, const char* call);

/// Throws OutOfMemory, of the GPU, with the call and what is in use.
[[noreturn]] void out_of_memory(const char* call);

/// After every launch: throws Failure naming the kernel if it could not be launched. With MARA_DEBUG_SYNC=1 in the
/// environment it also waits for the kernel, so that a fault shows up where it was made.
void launched(const char* kernel);

inline cudaStream_t native(const Stream& stream) { return static_cast<cudaStream_t>(stream.native()); }

/// Properties of the GPU in use.
struct DeviceInfo {
  int multiprocessors = 0;
  int64_t shared_bytes = 0;  // per block, opted in
  int capability = 0;        // 90 for 9.0
};
const DeviceInfo& device_info();

/// a / b rounded up.
template <class A, class B>
constexpr std::common_type_t<A, B> ceil_div(A a, B b) {
  return (a + b - 1) / b;
}

/// Blocks for `items` of work, `per_block` each, in a kernel that strides over its grid: enough to fill the GPU
/// `waves` times over, no more. At least 1.
int grid_for(int64_t items, int64_t per_block, int waves = 8);

/// Blocks of a kernel that needs all of them, in x. Throws Failure beyond the 2^31 - 1 that a launch takes.
unsigned exact_grid(int64_t blocks);

}  // namespace mara::kernels::cuda

#define MARA_CUDA(call) ::mara::kernels::cuda::check(call, #call)
