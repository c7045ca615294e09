#include "train/run_folder.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/log.h"

namespace mara::train {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinity and no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

void write_line(std::ofstream& file, const Json& object, const std::filesystem::path& path) {
  file << object.dump() << '\n' << std::flush;
  if (!file) throw Failure("metrics: cannot write to " + (path / "metrics.jsonl").string() + "; is the disk full?");
}

}  // namespace

void RunFolder::check_free(const std::filesystem::path& path, bool force) {
  MARA_CHECK(force || !std::filesystem::exists(path), "run folder: ", path.string(),
             " exists; choose another with --out, or give --force to move it aside");
}

RunFolder::RunFolder(const std::filesystem::path& path, const std::string& resolved_recipe, bool force) : path_(path) {
  check_free(path, force);
  std::error_code code;
  if (std::filesystem::exists(path)) {
    int number = 1;
    std::filesystem::path aside;
    do {
      aside = path.string() + ".old-" + std::to_string(number++);
    } while (std::filesystem::exists(aside));
    std::filesystem::rename(path, aside, code);
    MARA_CHECK(!code, "run folder: cannot move ", path.string(), " to ", aside.string(), ": ", code.message());
    log_info("moved the earlier run to " + aside.string());
  }
  std::filesystem::create_directories(path, code);
  MARA_CHECK(!code, "run folder: cannot make ", path.string(), ": ", code.message(), "; choose another with --out");
  std::ofstream(path / "recipe.yaml") << resolved_recipe;
  metrics_.open(path / "metrics.jsonl");
  MARA_CHECK(metrics_.good(), "run folder: cannot write in ", path.string(), "; choose another with --out");
  log_to_file((path / "log.txt").string());
}

RunFolder::~RunFolder() { log_to_file(""); }

void RunFolder::write(const StepMetrics& m) {
  write_line(metrics_,
             {{"step", m.step},
              {"loss", number(m.loss)},
              {"lr", m.lr},
              {"grad_norm", number(m.grad_norm)},
              {"skipped", m.skipped},
              {"tokens_per_second", number(std::round(m.tokens_per_second))},
              {"memory", m.memory}},
             path_);
}

void RunFolder::write(int64_t step, tasks::Split split, const eval::Evaluation& e) {
  write_line(metrics_,
             {{"step", step},
              {"split", to_string(split)},
              {"examples", e.examples},
              {"scored", e.scored},
              {"loss", number(e.loss)},
              {"accuracy", e.accuracy}},
             path_);
}

}  // namespace mara::train
