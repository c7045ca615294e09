#include "weights/logits.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "core/log.h"
#include "core/parallel.h"
#include "weights/weights_file.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::string checkpoint, tokens, to;
  std::string device = "cpu";
  int threads = 0;
  bool force = false;
};

int run(const Arguments& arguments) {
  if (arguments.threads > 0) set_thread_count(arguments.threads);
  MARA_CHECK(std::filesystem::path(arguments.to).extension() == ".safetensors", "--to ", arguments.to,
             ": a name that ends in .safetensors is required");
  weights::check_free(arguments.to, arguments.force);
  const train::LoadedModel loaded = train::load_model(arguments.checkpoint, parse_device(arguments.device));
  const std::vector<weights::Sequence> sequences = weights::read_sequences(arguments.tokens, loaded.recipe);
  weights::write_logits(loaded, sequences, arguments.to, arguments.force);
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
  app.add_option("--device", arguments->device, "cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--threads", arguments->threads, "CPU threads; results do not depend on it (default: all)")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--force", arguments->force, "Replace an existing file");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kLogits{"logits", "Write a model's logits for given tokens, to compare with other software", setup};

}  // namespace mara::cli
