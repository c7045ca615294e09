#include "train/loaded_model.h"

#include "checkpoint/checkpoint.h"
#include "io/guard.h"
#include "train/run_folder.h"

namespace mara::train {

std::filesystem::path find_checkpoint(const std::filesystem::path& path) {
  MARA_CHECK(std::filesystem::exists(path), path.string(),
             ": no such file or folder; a checkpoint or a run folder is required");
  MARA_CHECK(
      path.extension() != ".safetensors" && io::kind_of(path) != io::FileKind::weights, path.string(),
      ": a checkpoint or a run folder is required, this is a weights file; make a checkpoint of it: mara import ",
      path.string(), " --recipe RECIPE --to CHECKPOINT.h5");
  if (!std::filesystem::is_directory(path)) return path;
  const std::filesystem::path inside = path / RunFolder::kCheckpoints;
  const std::filesystem::path folder = std::filesystem::exists(inside) ? inside : path;
  const std::vector<checkpoint::Found> found = checkpoint::find_all(folder);
  MARA_CHECK(!found.empty(), folder.string(), ": holds no valid checkpoint; name a run folder that has one, or a file");
  return found.back().path;
}

LoadedModel load_model(const std::filesystem::path& checkpoint_or_folder, Device device,
                       const std::vector<std::string>& overrides) {
  const checkpoint::Checkpoint from(find_checkpoint(checkpoint_or_folder));
  LoadedModel out{.recipe = {}, .model = {}, .arena = {}, .step = from.step(), .path = from.path()};
  config::Document document = config::Document::parse(from.recipe(), from.path().string() + ": recipe");
  for (const std::string& assignment : overrides) document.set(assignment);
  document.read(out.recipe);
  out.recipe.require_device(device);
  out.model = out.recipe.model.options->make(out.recipe.model_setup());
  out.arena =
      std::make_unique<nn::ParameterArena>(*out.model, device, out.recipe.precision.compute_dtype(), out.recipe.seed());
  checkpoint::load_weights(from, *out.arena);
  return out;
}

}  // namespace mara::train
