#pragma once
// A command is one file, src/cli/<name>.cpp, and one line in the table in main.cpp.

#include <functional>
#include <string>
#include <vector>

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

}  // namespace mara::cli
