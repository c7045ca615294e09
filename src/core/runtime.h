#pragma once
// What a device must provide besides kernels.

#include <cstddef>
#include <vector>

#include "core/device.h"

namespace mara {

class Runtime {
 public:
  virtual ~Runtime() = default;
  /// At least `bytes`, aligned to 256; null when the device is out of memory.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* data, size_t bytes) noexcept = 0;
  virtual void copy_to_device(void* device, const void* host, size_t bytes) = 0;
  virtual void copy_to_host(void* host, const void* device, size_t bytes) = 0;
};

/// The runtime of a device. Throws Error when this build or machine has no such device.
Runtime& runtime(Device device);

/// Defined by the CUDA backend, or by the one file that stands for its absence (returns null then).
Runtime* cuda_runtime(int index);

/// Every device that can run kernels here, the CPU first.
std::vector<Device> devices_present();

}  // namespace mara
