#include "core/device.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/runtime.h"
#include "thrown.h"

namespace mara {
namespace {

TEST(Device, ParsesWhatItPrints) {
  EXPECT_EQ(parse_device("cpu"), kCpu);
  EXPECT_EQ(parse_device("cuda"), (Device{DeviceType::cuda, 0}));
  EXPECT_EQ(parse_device("cuda:12"), (Device{DeviceType::cuda, 12}));
  EXPECT_EQ(to_string(kCpu), "cpu");
  EXPECT_EQ(to_string(kMeta), "meta");
  EXPECT_EQ(to_string(Device{DeviceType::cuda, 3}), "cuda:3");
}

TEST(Device, RefusesEverythingElse) {
  for (const char* text :
       {"", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda:99999999999", "meta"}) {
    EXPECT_EQ(message_of<Error>([&] { parse_device(text); }),
              "device: cpu, cuda or cuda:N is required, got '" + std::string(text) + "'");
  }
}

TEST(Device, CpuIsAlwaysPresentAndFirst) {
  EXPECT_EQ(devices_present().front(), kCpu);
  EXPECT_NO_THROW(runtime(kCpu));
  EXPECT_NO_THROW(runtime(kMeta));
}

TEST(Device, AbsentDeviceIsExplained) {
  const std::string message = message_of<Error>([] { runtime({DeviceType::cuda, 1000}); });
  EXPECT_TRUE(message.starts_with("device cuda:1000: ")) << message;
  EXPECT_NE(message.find("--device cpu"), std::string::npos) << message;
}

}  // namespace
}  // namespace mara
