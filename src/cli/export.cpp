#include "weights/export.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "core/log.h"
#include "weights/weights_file.h"

namespace mara::cli {
namespace {

struct Arguments {
  std::string checkpoint, dtype;
  weights::ExportOptions options;
};

int run(const Arguments& arguments) {
  weights::ExportOptions options = arguments.options;
  if (!arguments.dtype.empty()) options.dtype = parse_dtype(arguments.dtype);
  weights::check_target(options.to, {}, options.force);
  const size_t count = weights::export_weights(train::load_model(arguments.checkpoint, kCpu), options);
  log_info(detail::join({"export: ", options.to.string(), ", ", count, " tensors"}));
  return 0;
}

std::function<int()> setup(CLI::App& app) {
  const auto arguments = std::make_shared<Arguments>();
  weights::ExportOptions& options = arguments->options;
  app.add_option("checkpoint", arguments->checkpoint, "A checkpoint, or a run folder: its newest")->required();
  app.add_option("--to", options.to, "File to make, .safetensors or .h5")->required();
  app.add_option("--names", options.names,
                 "What the parameters are called there: own, safari, h3, or a YAML file of `ours: theirs`")
      ->capture_default_str();
  app.add_option("--dtype", arguments->dtype,
                 "f32; or bf16, with norms, biases, filters and constants in f32 (default: as in the checkpoint)")
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_flag("--force", options.force, "Replace an existing file of weights");
  return [arguments] { return run(*arguments); };
}

}  // namespace

const Command kExport{"export", "Write a checkpoint's weights for other software", setup};

}  // namespace mara::cli
