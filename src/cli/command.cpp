#include "cli/command.h"

#include <CLI/CLI.hpp>

namespace mara::cli {

void add_overrides(CLI::App& app, std::vector<std::string>& overrides, const std::string& example) {
  app.add_option("--set", overrides, "Override a key: --set " + example + " (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
}

}  // namespace mara::cli
