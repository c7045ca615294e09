#include "cli/commands.h"

#include <cmath>
#include <cstdio>

#include "core/log.h"
#include "core/parallel.h"
#include "train/describe.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace mara::cli {
namespace {

std::string percent(double fraction) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.2f %%", 100 * fraction);
  return buffer;
}

}  // namespace

int train(const TrainArguments& arguments) {
  if (arguments.threads > 0) set_thread_count(arguments.threads);
  const Device device = parse_device(arguments.device);
  const train::Recipe recipe = train::Recipe::load(arguments.recipe, arguments.overrides);
  const std::string out = arguments.out.empty() ? "runs/" + recipe.run.name : arguments.out;
  train::RunFolder::check_free(out, arguments.force);
  train::Trainer trainer(recipe, device);
  train::RunFolder folder(out, config::to_yaml(recipe), arguments.force);

  log_info(detail::join({"training ", recipe.run.name, ": ", train::with_commas(trainer.arena().parameter_count()),
                         " parameters on ", to_string(device), ", ", thread_count(), " threads, at most ",
                         train::with_commas(recipe.train.steps), " steps"}));
  const train::Outcome outcome = trainer.run(folder);
  log_info(detail::join({"trained ", train::with_commas(outcome.steps), " steps in ",
                         train::duration(outcome.seconds), ", ",
                         train::with_commas(std::llround(outcome.tokens_per_second)), " tokens/s",
                         outcome.stopped_early ? ", stopped early: train.stop_when is met" : ""}));
  if (outcome.skipped > 0) {
    log_warning(detail::join({outcome.skipped, " steps were skipped: loss or gradient was not finite"}));
  }
  if (outcome.test) {
    log_info(detail::join({"test accuracy ", percent(outcome.test->accuracy), " on ",
                           train::with_commas(outcome.test->examples), " held-out examples never used before (loss ",
                           outcome.test->loss, ")"}));
  }
  log_info("run folder: " + folder.path().string());
  return 0;
}

int describe(const DescribeArguments& arguments) {
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

}  // namespace mara::cli
