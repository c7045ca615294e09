#include "core/runtime.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace mara {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

class CpuRuntime final : public Runtime {
 public:
  void* allocate(size_t bytes) override {
    const size_t alignment = bytes >= kHugePage ? kHugePage : 256;
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* data = std::aligned_alloc(alignment, rounded);
    if (data != nullptr && alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);
    return data;
  }
  void release(void* data, size_t) noexcept override { std::free(data); }
  void copy_to_device(void* device, const void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    if (bytes > 0) std::memcpy(host, device, bytes);
  }
};

class MetaRuntime final : public Runtime {
 public:
  void* allocate(size_t) override { return nullptr; }
  void release(void*, size_t) noexcept override {}
  void copy_to_device(void*, const void*, size_t) override {}
  void copy_to_host(void*, const void*, size_t) override {
    throw std::logic_error("internal error: a meta tensor has no data to read");
  }
};

}  // namespace

Runtime& runtime(Device device) {
  static CpuRuntime cpu;
  static MetaRuntime meta;
  if (device.type == DeviceType::cpu) return cpu;
  if (device.type == DeviceType::meta) return meta;
  Runtime* cuda = cuda_runtime(device.index);
  MARA_CHECK(cuda != nullptr, "device ", to_string(device), ": this build has no CUDA backend; use --device cpu");
  return *cuda;
}

std::vector<Device> devices_present() {
  std::vector<Device> devices{kCpu};
  for (int i = 0; cuda_runtime(i) != nullptr; ++i) devices.push_back({DeviceType::cuda, i});
  return devices;
}

}  // namespace mara
