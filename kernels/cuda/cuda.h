#pragma once
// What host code of the CUDA backend has in common.

#include <cuda_runtime_api.h>

#include "core/error.h"
#include "core/stream.h"

namespace mara::kernels::cuda {

/// Throws Failure with the call, the library's name of the error and its message.
void check(cudaError_t status, const char* call);

/// After every launch: throws Failure naming the kernel if it could not be launched. With MARA_DEBUG_SYNC=1 in the
/// environment it also waits for the kernel, so that a fault shows up where it was made.
void launched(const char* kernel);

inline cudaStream_t native(const Stream& stream) { return static_cast<cudaStream_t>(stream.native()); }

/// Properties of the GPU in use.
struct DeviceInfo {
  int multiprocessors = 0;
  int64_t l2_bytes = 0;
  int64_t shared_bytes = 0;  // per block, opted in
  int capability = 0;        // 90 for 9.0
};
const DeviceInfo& device_info();

/// Blocks for `items` of work, `per_block` each, in a kernel that strides over its grid: enough to fill the GPU
/// `waves` times over, no more. At least 1.
int grid_for(int64_t items, int64_t per_block, int waves = 8);

}  // namespace mara::kernels::cuda

#define MARA_CUDA(call) ::mara::kernels::cuda::check(call, #call)
