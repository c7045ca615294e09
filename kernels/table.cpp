#include <utility>

#include "core/error.h"
#include "core/runtime.h"
#include "kernels/observer.h"

namespace mara::kernels {
namespace {

constexpr Table kCpuTable = {
#define KERNEL(name, Args) .name = &cpu::name,
#include "kernels/kernel_list.inc"
#undef KERNEL
};

// The meta device runs nothing.
Observer* observer = nullptr;

constexpr Table kMetaTable = {
#define KERNEL(name, Args)                         \
  .name = [](Stream&, const Args& args) {          \
    if (observer != nullptr) observer->name(args); \
  },
#include "kernels/kernel_list.inc"
#undef KERNEL
};

}  // namespace

ObserverScope::ObserverScope(Observer& next) : previous_(std::exchange(observer, &next)) {}
ObserverScope::~ObserverScope() { observer = previous_; }

Backend on(Device device) {
  static Stream cpu_stream(kCpu), meta_stream(kMeta);
  if (device.type == DeviceType::cpu) return {kCpuTable, cpu_stream};
  if (device.type == DeviceType::meta) return {kMetaTable, meta_stream};
  static Stream cuda_stream(device, runtime(device).native_stream());  // throws where there is no such device
  return {*cuda_table(), cuda_stream};
}

}  // namespace mara::kernels
