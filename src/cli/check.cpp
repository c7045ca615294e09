#include "bench/check.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::string recipe;
  std::vector<std::string> overrides;
  DeviceOptions machine;
  bool quick = false;
};

int run(const Arguments& arguments) {
  const Device device = use(arguments.machine);
  const train::Recipe recipe = train::Recipe::load(arguments.recipe, arguments.overrides);
  recipe.require_device(device);
  const std::vector<bench::CheckRow> rows = bench::check(bench::recipe_calls(recipe, arguments.quick), kernels::on(device));
  std::fputs(bench::to_text(rows).c_str(), stdout);
  bench::require_ok(rows, "do not train there, and report this with the table and the device's name");
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("recipe", arguments->recipe, "YAML file: its kernels are run at its sizes")->required();
  add_overrides(app, arguments->overrides, "train.batch=4");
  add_device_options(app, arguments->machine);
  app.add_flag("--quick", arguments->quick, "One sequence at a time: what `mara train` does at its start on a GPU");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kCheck{"check", "Compare every kernel of a recipe with the CPU in f64", setup};

}  // namespace mara::cli
