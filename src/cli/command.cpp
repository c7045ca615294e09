#include "cli/command.h"

#include <CLI/CLI.hpp>

#include "core/parallel.h"

namespace mara::cli {

void add_overrides(CLI::App& app, std::vector<std::string>& overrides, const std::string& example) {
  app.add_option("--set", overrides, "Override a key: --set " + example + " (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
}

void add_device_options(CLI::App& app, DeviceOptions& options) {
  app.add_option("--device", options.device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; results do not depend on it (default: all)")
      ->check(CLI::Range(1, 1024));
}

Device use(const DeviceOptions& options) {
  if (options.threads > 0) set_thread_count(options.threads);
  return parse_device(options.device);
}

}  // namespace mara::cli
