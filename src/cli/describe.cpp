#include "train/describe.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::string recipe;
  std::vector<std::string> overrides;
  bool options = false;
};

int run(const Arguments& arguments) {
  if (arguments.recipe.empty() && !arguments.options) {
    throw Error("describe: a recipe is required, or --options to list every option");
  }
  if (!arguments.recipe.empty()) {
    const train::Recipe recipe = train::Recipe::load(arguments.recipe, arguments.overrides);
    std::fputs(train::to_text(train::describe(recipe), recipe).c_str(), stdout);
  }
  if (arguments.options) std::fputs(("\nOptions\n" + train::options_text()).c_str(), stdout);
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("recipe", arguments->recipe, "YAML file; without one, only the options are shown");
  add_overrides(app, arguments->overrides, "model.width=128");
  app.add_flag("--options", arguments->options, "Also list every option with default and meaning");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kDescribe{"describe", "Show parameters, memory, work, the resolved recipe and all options", setup};

}  // namespace mara::cli
