#pragma once
// A command is one file, src/cli/<name>.cpp, and one line in the table in main.cpp.

#include <functional>
#include <string>
#include <vector>

#include "core/device.h"

namespace CLI {
class App;
}

namespace mara::cli {

struct Command {
  const char* name;
  const char* help;
  /// Lists the command's options and returns what to run after parsing: it gives the exit code or throws.
  std::function<int()> (*setup)(CLI::App& app);
};

/// "--set key=value", as often as wanted.
void add_overrides(CLI::App& app, std::vector<std::string>& overrides, const std::string& example);

struct DeviceOptions {
  std::string device = "cpu";
  int threads = 0;  // 0: all
};
/// "--device" and "--threads".
void add_device_options(CLI::App& app, DeviceOptions& options);
/// From now on the CPU works with so many threads. Throws Error for a device that is not there.
Device use(const DeviceOptions& options);

}  // namespace mara::cli
