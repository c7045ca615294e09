#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parallel.h"
#include "train/trainer.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::string recipe;
  std::vector<std::string> overrides;
  std::string out;
  std::string device = "cpu";
  int threads = 0;
  bool force = false;
  std::optional<std::string> resume;
};

std::string held_out_text(const eval::Evaluation& e) {
  if (e.bits_per_byte) {
    return detail::join({eval::quality_text(e), " on ", with_commas(e.bytes), " bytes of held-out text (loss ", e.loss,
                         " per token, perplexity ", e.perplexity(), ")"});
  }
  return detail::join({"test ", eval::quality_text(e), " on ", with_commas(e.examples),
                       " held-out examples never used before (loss ", e.loss, ")"});
}

int run(const Arguments& arguments) {
  if (arguments.threads > 0) set_thread_count(arguments.threads);
  const Device device = parse_device(arguments.device);
  const train::Recipe recipe = train::Recipe::load(arguments.recipe, arguments.overrides);
  const std::string out = arguments.out.empty() ? "runs/" + recipe.run.name : arguments.out;
  if (!arguments.resume) train::RunFolder::check_free(out, arguments.force);
  std::optional<train::ResumePoint> point;
  if (arguments.resume) point.emplace(train::find_resume_point(out, *arguments.resume));
  train::Trainer trainer(recipe, device);
  if (point && point->from) trainer.resume(*point->from);
  const std::string text = config::to_yaml(recipe);
  train::RunFolder folder = point ? train::RunFolder(out, text, *point) : train::RunFolder(out, text, arguments.force);
  if (point && point->from) {
    log_info(detail::join({"resuming after step ", point->step(), " from ", point->from->path().string()}));
  }

  log_info(detail::join({"training ", recipe.run.name, ": ", with_commas(trainer.arena().parameter_count()),
                         " parameters on ", to_string(device), ", ", thread_count(), " threads, at most ",
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
  if (outcome.test) log_info(held_out_text(*outcome.test));
  log_info("run folder: " + folder.path().string());
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("recipe", arguments->recipe, "YAML file that determines the run")->required();
  add_overrides(app, arguments->overrides, "train.steps=100");
  app.add_option("--out", arguments->out, "Run folder (default: runs/NAME, NAME being run.name)");
  app.add_option("--device", arguments->device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", arguments->threads, "CPU threads; results do not depend on it (default: all)")
      ->check(CLI::Range(1, 1024));
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
