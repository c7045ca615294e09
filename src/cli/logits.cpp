#include "weights/logits.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "core/log.h"
#include "weights/weights_file.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::string checkpoint, tokens, to;
  DeviceOptions machine;
  bool force = false;
};

int run(const Arguments& arguments) {
  const io::Existing existing = weights::check_target(arguments.to, {.hdf5 = std::nullopt}, arguments.force);
  const train::LoadedModel loaded = train::load_model(arguments.checkpoint, use(arguments.machine));
  MARA_CHECK(loaded.model->vocabulary() > 0, loaded.path.string(),
             ": logits: this kind of model does not predict a token at every position; use a language_model");
  const std::vector<weights::Sequence> sequences =
      weights::read_sequences(arguments.tokens, loaded.model->vocabulary(), loaded.recipe.model_setup().length);
  weights::write_logits(loaded, sequences, arguments.to, existing);
  log_info(detail::join(
      {"logits: ", arguments.to, ", ", sequences.size(), sequences.size() == 1 ? " sequence" : " sequences"}));
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  app.add_option("checkpoint", arguments->checkpoint, "A checkpoint, or a run folder: its newest")->required();
  app.add_option("--tokens", arguments->tokens, "Text file of token ids, a sequence a line")->required();
  app.add_option(
         "--to", arguments->to,
         "File to make, .safetensors: logits.N (L, V) in f32 and ids.N (L) for line N; V is the padded vocabulary")
      ->required();
  add_device_options(app, arguments->machine);
  app.add_flag("--force", arguments->force, "Replace an existing file");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kLogits{"logits", "Write a model's logits for given tokens, to compare with other software", setup};

}  // namespace mara::cli
