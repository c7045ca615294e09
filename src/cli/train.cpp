#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

#include "bench/check.h"
#include "cli/commands.h"
#include "cli/sweep.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/pool.h"
#include "core/runtime.h"
#include "train/fitting.h"
#include "train/trainer.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::vector<std::string> recipes, overrides, axes;
  std::string out;
  DeviceOptions machine;
  bool force = false;
  bool no_check = false;
  std::optional<std::string> resume;
  int jobs = 1;

  bool sweeps() const { return !axes.empty() || recipes.size() > 1; }
};

std::string held_out_text(const eval::Evaluation& e, const train::Recipe& recipe) {
  if (e.bits_per_byte) {
    return detail::join({eval::quality_text(e), " on ", with_commas(e.bytes), " bytes of held-out text (loss ", e.loss,
                         " per token, perplexity ", e.perplexity(), ")"});
  }
  const bool held_out = !recipe.task || recipe.task->make(recipe.seed())->splits_are_disjoint();
  return detail::join({"test ", eval::quality_text(e), " on ", with_commas(e.examples),
                       held_out ? " held-out examples never used before" : " more examples", " (loss ", e.loss, ")"});
}

void check_kernels(const train::Recipe& recipe, Device device) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<bench::CheckRow> rows = bench::check(bench::recipe_calls(recipe, true), kernels::on(device));
  bench::require_ok(rows, "mara check shows the whole table, --no-check trains all the same");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  log_info(detail::join({"checked ", rows.size(), " kernel launches against the CPU in ", duration(took.count())}));
}

// The log keeps the model of the GPU, which the bits of a run belong to.
std::string device_text(Device device) {
  if (device.type == DeviceType::cpu) return to_string(device);
  return to_string(device) + " (" + runtime(device).description() + ")";
}

int train_recipe(const train::Recipe& recipe, Device device, const Arguments& arguments) {
  recipe.require_device(device);
  const std::string out = arguments.out.empty() ? "runs/" + recipe.run.name : arguments.out;
  if (!arguments.resume) train::RunFolder::check_free(out, arguments.force);
  std::optional<train::ResumePoint> point;
  if (arguments.resume) point.emplace(train::find_resume_point(out, *arguments.resume));
  if (device.type != DeviceType::cpu && !arguments.no_check) check_kernels(recipe, device);
  train::Trainer trainer(recipe, device);
  if (point && point->from) trainer.resume(*point->from);
  const std::string text = config::to_yaml(recipe);
  train::RunFolder folder = point ? train::RunFolder(out, text, *point) : train::RunFolder(out, text, arguments.force);
  if (point && point->from) {
    log_info(detail::join({"resuming after step ", point->step(), " from ", point->from->path().string()}));
  }

  log_info(detail::join({"training ", recipe.run.name, ": ", with_commas(trainer.arena().parameter_count()),
                         " parameters on ", device_text(device), ", ", thread_count(), " threads, at most ",
                         with_commas(recipe.train.steps), " steps"}));
  const train::Outcome outcome = trainer.run(folder);
  log_info(detail::join({"trained ", with_commas(outcome.steps), " steps in ", duration(outcome.seconds), ", ",
                         with_commas(std::llround(outcome.tokens_per_second)), " tokens/s",
                         outcome.stopped_early ? ", stopped early: train.stop_when is met" : ""}));
  if (outcome.skipped > 0) {
    log_warning(detail::join({outcome.skipped, " steps were skipped: loss or gradient was not finite"}));
  }
  if (outcome.signal != 0) {
    log_info("interrupted, the state is saved in " + folder.path().string() +
             "; the same command with --resume goes on");
    return 128 + outcome.signal;
  }
  if (outcome.test) log_info(held_out_text(*outcome.test, recipe));
  log_info("run folder: " + folder.path().string());
  return 0;
}

int sweep(Device device, const Arguments& arguments) {
  MARA_CHECK(!arguments.force && !arguments.resume,
             "train: a sweep goes on with the runs in its folder by itself; leave ",
             arguments.force ? "--force" : "--resume", " out, or choose a new folder with --out");
  MARA_CHECK(!arguments.out.empty() || arguments.recipes.size() == 1,
             "train: runs of several recipes need a folder; give one with --out runs/NAME");
  const auto points = train::sweep_points(arguments.recipes, arguments.overrides, arguments.axes);
  for (const train::SweepPoint& point : points) point.recipe.require_device(device);
  const std::string folder = arguments.out.empty() ? "runs/" + points[0].recipe.run.name + "_sweep" : arguments.out;
  return run_sweep(points,
                   {.folder = folder, .device = device, .jobs = arguments.jobs, .no_check = arguments.no_check});
}

int run(const Arguments& arguments) {
  const Device device = use(arguments.machine);
  if (arguments.sweeps()) return sweep(device, arguments);
  MARA_CHECK(arguments.jobs == 1, "train: --jobs ", arguments.jobs,
             ": there is one run; give --sweep, or leave it out");
  const train::Recipe recipe = train::Recipe::load(arguments.recipes[0], arguments.overrides);
  try {
    return train_recipe(recipe, device, arguments);
  } catch (const OutOfMemory& error) {
    throw Failure(detail::join({error.what(), "\nin an evaluation eval.batch can be lowered; in a step, ",
                                train::what_would_fit(recipe, runtime(device).memory_bytes())}));
  }
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("recipe", arguments->recipes,
                 "YAML file that determines the run; several make a sweep, a run of each in the folder --out")
      ->required();
  add_overrides(app, arguments->overrides, "train.steps=100");
  app.add_option("--sweep", arguments->axes,
                 "Train a grid: --sweep model.width=64,128 --sweep run.seed=1,2 (repeatable); keys that move together: "
                 "'task.length=64,128; task.num_pairs=4,8'. The same command goes on with it")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--jobs", arguments->jobs, "Runs of a sweep at once; they share the threads and the GPU")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option(
      "--out", arguments->out,
      "Run folder (default: runs/NAME, NAME being run.name); of a sweep a folder of run folders (NAME_sweep)");
  add_device_options(app, arguments->machine);
  app.add_flag("--no-check", arguments->no_check,
               "On a GPU, do not compare the recipe's kernels with the CPU before the start");
  CLI::Option* force = app.add_flag("--force", arguments->force, "Move an existing run folder aside");
  app.add_option_function<std::vector<std::string>>(
         "--resume",
         [arguments](const std::vector<std::string>& given) {
           arguments->resume = given.empty() || given[0].empty() ? "latest" : given[0];
         },
         "Go on from a checkpoint (default: the run folder's latest; from the start if it has none yet)")
      ->expected(0, 1)
      ->type_name("[PATH|latest]")
      ->excludes(force);
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kTrain{"train", "Train a recipe's model and evaluate it", setup};

}  // namespace mara::cli
