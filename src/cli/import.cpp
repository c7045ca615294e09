#include "weights/import.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "core/log.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::string recipe;
  std::vector<std::string> overrides;
  weights::ImportOptions options;
};

int run(const Arguments& arguments) {
  weights::import_weights(train::Recipe::load(arguments.recipe, arguments.overrides), arguments.options);
  log_info("import: " + arguments.options.to.string() + ", a checkpoint of step 0");
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  weights::ImportOptions& options = arguments->options;
  app.add_option("weights", options.from, "File of weights, .safetensors or .h5; F16, BF16 and F64 are converted")
      ->required();
  app.add_option("--recipe", arguments->recipe, "YAML file whose model the weights are for")->required();
  add_overrides(app, arguments->overrides, "model.vocab=50257");
  app.add_option("--to", options.to, "Checkpoint to make, for eval, generate, logits, export and train --resume")
      ->required();
  app.add_option("--names", options.names,
                 "What the parameters are called in the file: own, safari, h3, or a YAML file of `ours: theirs`")
      ->capture_default_str();
  app.add_flag("--force", options.force, "Replace a checkpoint that was imported, too");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kImport{"import", "Make a checkpoint of weights from other software", setup};

}  // namespace mara::cli
