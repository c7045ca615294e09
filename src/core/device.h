#pragma once
// Where memory lives and kernels run.

#include <cstdint>
#include <string>
#include <string_view>

namespace mara {

/// `meta` has no memory: tensors are null, kernels only count. `mara describe` walks a whole training step on it
/// to learn memory and work without doing either.
enum class DeviceType : uint8_t { cpu, cuda, meta };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

inline constexpr Device kCpu{DeviceType::cpu, 0};
inline constexpr Device kMeta{DeviceType::meta, 0};

std::string to_string(Device device);

/// "cpu", "cuda" or "cuda:1". Throws Error for anything else.
Device parse_device(std::string_view text);

}  // namespace mara
