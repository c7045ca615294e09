#include "core/error.h"
#include "core/runtime.h"
#include "kernels/kernels.h"

namespace mara::kernels {
namespace {

constexpr Table kCpuTable = {
#define KERNEL(name, Args) .name = &cpu::name,
#include "kernels/kernel_list.inc"
#undef KERNEL
};

// The meta device runs nothing; it adds up the work of kernels that say what they cost.
template <class Args>
void count(Stream& stream, const Args& args) {
  if constexpr (requires { args.flops(); }) stream.counted_flops += args.flops();
}

constexpr Table kMetaTable = {
#define KERNEL(name, Args) .name = &count<Args>,
#include "kernels/kernel_list.inc"
#undef KERNEL
};

}  // namespace

Backend on(Device device) {
  static Stream cpu_stream(kCpu), meta_stream(kMeta);
  if (device.type == DeviceType::cpu) return {kCpuTable, cpu_stream};
  if (device.type == DeviceType::meta) return {kMetaTable, meta_stream};
  runtime(device);  // throws where there is no such device
  static Stream cuda_stream(device);
  return {*cuda_table(), cuda_stream};
}

}  // namespace mara::kernels
