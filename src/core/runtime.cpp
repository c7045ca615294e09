#include "core/runtime.h"

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"

namespace mara {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

class Now final : public Event {
 public:
  void record() override {}
  void wait() override {}
};

// Where work is done as it is enqueued.
double host_seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

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
  void* allocate_host(size_t bytes) override { return allocate(bytes); }
  void release_host(void* data) noexcept override { std::free(data); }
  void copy_to_device(void* device, const void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(device, host, bytes);
  }
  void copy_to_host(void* host, const void* device, size_t bytes) override {
    if (bytes > 0) std::memcpy(host, device, bytes);
  }
  std::unique_ptr<Event> event() override { return std::make_unique<Now>(); }
  double seconds(const std::function<void()>& body) override { return host_seconds(body); }
  int64_t memory_bytes() const override { return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE); }
  std::string description() const override { return std::to_string(thread_count()) + " threads"; }
};

class MetaRuntime final : public Runtime {
 public:
  void* allocate(size_t) override { return nullptr; }
  void release(void*, size_t) noexcept override {}
  void* allocate_host(size_t) override { return nullptr; }
  void release_host(void*) noexcept override {}
  void copy_to_device(void*, const void*, size_t) override {}
  void copy_to_host(void*, const void*, size_t) override {
    throw std::logic_error("internal error: a meta tensor has no data to read");
  }
  std::unique_ptr<Event> event() override { return std::make_unique<Now>(); }
  double seconds(const std::function<void()>& body) override { return host_seconds(body); }
  int64_t memory_bytes() const override { return 0; }
  std::string description() const override { return "counts only"; }
};

}  // namespace

Runtime& runtime(Device device) {
  static CpuRuntime cpu;
  static MetaRuntime meta;
  if (device.type == DeviceType::cpu) return cpu;
  if (device.type == DeviceType::meta) return meta;
  Runtime* cuda = cuda_runtime(device.index);
  MARA_CHECK(cuda != nullptr, "device ", to_string(device), ": ", cuda_problem(device.index));
  return *cuda;
}

std::vector<Device> devices_present() {
  std::vector<Device> devices{kCpu};
  if (cuda_runtime(0) != nullptr) devices.push_back({DeviceType::cuda, 0});
  return devices;
}

}  // namespace mara
