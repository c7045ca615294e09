#include "core/device.h"

#include <charconv>

#include "core/error.h"

namespace mara {

std::string to_string(Device device) {
  switch (device.type) {
    case DeviceType::cpu:
      return "cpu";
    case DeviceType::meta:
      return "meta";
    case DeviceType::cuda:
      return "cuda:" + std::to_string(device.index);
  }
  return "unknown device";
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return kCpu;
  if (text == "cuda") return {DeviceType::cuda, 0};
  if (text.starts_with("cuda:")) {
    const std::string_view digits = text.substr(5);
    int index = -1;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (code == std::errc() && end == digits.data() + digits.size() && index >= 0) return {DeviceType::cuda, index};
  }
  throw Error(detail::join({"device: cpu, cuda or cuda:N is required, got '", text, "'"}));
}

}  // namespace mara
