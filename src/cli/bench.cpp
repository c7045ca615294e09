#include "bench/bench.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::string what, recipe;
  std::vector<std::string> settings;
  DeviceOptions machine;
  double effort = 0.1;
  bool json = false;
};

bench::Report measure(const Arguments& arguments) {
  const Device device = use(arguments.machine);
  const double effort = arguments.effort;
  if (arguments.what == "step") {
    MARA_CHECK(!arguments.recipe.empty(), "bench: a step needs a recipe: mara bench step RECIPE");
    const train::Recipe recipe = train::Recipe::load(arguments.recipe, arguments.settings);
    return bench::bench_step(recipe, device, bench::measure_ceilings(device, effort), effort);
  }
  MARA_CHECK(arguments.recipe.empty(), "bench: only `mara bench step` takes a recipe, got ", arguments.recipe);
  bench::Sizes sizes = bench::Sizes::of(device);
  for (const std::string& setting : arguments.settings) sizes.set(setting);
  const bench::Calls calls = bench::standard_calls(sizes, arguments.what);
  return bench::bench(calls, device, bench::measure_ceilings(device, effort), effort);
}

int run(const Arguments& arguments) {
  const bench::Report report = measure(arguments);
  std::fputs((arguments.json ? bench::to_json(report) + "\n" : bench::to_text(report)).c_str(), stdout);
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("what", arguments->what,
                 "`step`, or a kernel: all whose names begin so, such as fft_conv (default: every kernel)");
  app.add_option("recipe", arguments->recipe, "YAML file whose training step is measured, after `step`");
  app.add_option("--set", arguments->settings,
                 "With `step` a key of the recipe, else a size: --set L=8192 --set dtype=f32 (repeatable)")
      ->take_all()
      ->allow_extra_args(false);
  add_device_options(app, arguments->machine);
  app.add_option("--effort", arguments->effort, "Seconds to spend on each measurement")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  app.add_flag("--json", arguments->json, "Print JSON: seconds, bytes, flop");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kBench{"bench", "Measure kernels, or a recipe's training step", setup};

}  // namespace mara::cli
