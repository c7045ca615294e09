#include "train/run_folder.h"

#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "io/atomic_file.h"

namespace mara::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char *kRecipe = "recipe.yaml", *kMetrics = "metrics.jsonl", *kOutcome = "outcome.json";

// JSON has no infinity and no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

// What an evaluation found.
Json quality(const eval::Evaluation& e) {
  Json out{{"examples", e.examples}, {"scored", e.scored}, {"loss", number(e.loss)}};
  if (e.accuracy) out["accuracy"] = *e.accuracy;
  if (e.reference) out["reference"] = number(*e.reference);
  if (e.bits_per_byte) {
    out["bits_per_byte"] = number(*e.bits_per_byte);
    out["perplexity"] = number(e.perplexity());
  }
  return out;
}

void write_line(std::ofstream& file, const Json& object, const std::filesystem::path& path) {
  file << object.dump() << '\n' << std::flush;
  if (!file) throw Failure("metrics: cannot write to " + (path / kMetrics).string() + "; is the disk full?");
}

std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_whole(const std::filesystem::path& path, const std::string& content) {
  io::AtomicFile file(path, io::Existing::replace);
  std::ofstream(file.temporary(), std::ios::binary) << content << std::flush;
  MARA_CHECK(
      std::filesystem::exists(file.temporary()) && std::filesystem::file_size(file.temporary()) == content.size(),
      path.string(), ": cannot be written; is the folder writable, is the disk full?");
  file.commit();
}

std::filesystem::path make_folder(const std::filesystem::path& path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  MARA_CHECK(!code, "run folder: cannot make ", path.string(), ": ", code.message(), "; choose another with --out");
  return path;
}

std::filesystem::path make_new(const std::filesystem::path& path, bool force) {
  RunFolder::check_free(path, force);
  if (std::filesystem::exists(path)) {
    if (std::filesystem::is_directory(path)) io::FolderLock{path};  // refuses while another process is at work there
    int number = 1;
    std::filesystem::path aside;
    do {
      aside = path.string() + ".old-" + std::to_string(number++);
    } while (std::filesystem::exists(aside));
    std::error_code code;
    std::filesystem::rename(path, aside, code);
    MARA_CHECK(!code, "run folder: cannot move ", path.string(), " to ", aside.string(), ": ", code.message());
    log_info("moved the earlier run to " + aside.string());
  }
  return make_folder(path);
}

struct Metrics {
  std::string kept, beyond;
  double seconds = 0;  // until the last step that is kept
};

/// The lines of a run up to a step, and those beyond it. Beyond are also what follows the step's own evaluation (the
/// one that ends a run, which is made again) and a line a killed process did not complete.
Metrics split_metrics(const std::string& text, int64_t step) {
  size_t begin = 0;
  double seconds = 0;
  for (bool evaluated = false; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    const Json line = Json::parse(text.begin() + static_cast<ptrdiff_t>(begin),
                                  text.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) break;
    if (evaluated || line["step"].get<int64_t>() > step) break;
    evaluated = line["step"].get<int64_t>() == step && line.contains("split");
    if (const auto found = line.find("seconds"); found != line.end() && found->is_number()) seconds = *found;
    begin = end + 1;
  }
  return {text.substr(0, begin), text.substr(begin), seconds};
}

}  // namespace

void RunFolder::check_free(const std::filesystem::path& path, bool force) {
  MARA_CHECK(force || !std::filesystem::exists(path), "run folder: ", path.string(),
             " exists; choose another with --out, or give --force to move it aside");
}

void RunFolder::prepare(const std::filesystem::path& path, const std::string& resolved_recipe) {
  make_folder(path);
  if (!std::filesystem::exists(path / kRecipe)) write_whole(path / kRecipe, resolved_recipe);
}

std::optional<Outcome> RunFolder::outcome(const std::filesystem::path& path) {
  const std::string text = read_whole(path / kOutcome);
  if (text.empty()) return std::nullopt;
  try {
    const Json json = Json::parse(text);
    const auto real = [&](const char* key) { return json.at(key).is_null() ? NAN : json.at(key).get<double>(); };
    Outcome out{.steps = json.at("steps"),
                .skipped = json.at("skipped"),
                .seconds = json.at("seconds"),
                .tokens_per_second = real("tokens_per_second"),
                .stopped_early = json.at("stopped_early")};
    if (json.contains("examples")) {
      out.test = {.examples = json.at("examples"), .scored = json.at("scored"), .loss = real("loss")};
      if (json.contains("accuracy")) out.test->accuracy = json.at("accuracy");
      if (json.contains("reference")) out.test->reference = real("reference");
      if (json.contains("bits_per_byte")) out.test->bits_per_byte = real("bits_per_byte");
    }
    return out;
  } catch (const Json::exception& error) {
    throw Error((path / kOutcome).string() + ": what a run writes at its end is required, got something else (" +
                error.what() + "); restore it, or move it away for the run to end once more");
  }
}

RunFolder::RunFolder(const std::filesystem::path& path, const std::string& resolved_recipe, bool force)
    : RunFolder(make_new(path, force)) {
  start(resolved_recipe);
}

RunFolder::RunFolder(const std::filesystem::path& path, const std::string& resolved_recipe, const ResumePoint& point)
    : RunFolder(make_folder(path)) {
  set_aside(resolved_recipe, point);
  start(resolved_recipe);
}

RunFolder::RunFolder(const std::filesystem::path& path) : path_(path), lock_(path) {
  log_to_file((path / "log.txt").string());
}

void RunFolder::start(const std::string& resolved_recipe) {
  prepare(path_, resolved_recipe);
  metrics_.open(path_ / kMetrics, std::ios::app);
  MARA_CHECK(metrics_.good(), "run folder: cannot write in ", path_.string(), "; choose another with --out");
}

void RunFolder::set_aside(const std::string& resolved_recipe, const ResumePoint& point) {
  const auto numbered = [&](const char* name, const char* extension, int number) {
    return path_ / (std::string(name) + "." + std::to_string(number) + extension);
  };
  int number = 1;
  while (std::filesystem::exists(numbered("metrics", ".jsonl", number)) ||
         std::filesystem::exists(numbered("recipe", ".yaml", number)) ||
         std::filesystem::exists(numbered("outcome", ".json", number)) ||
         std::filesystem::exists(numbered(kCheckpoints, "", number))) {
    ++number;
  }
  if (std::filesystem::exists(path_ / kOutcome)) {
    std::filesystem::rename(path_ / kOutcome, numbered("outcome", ".json", number));
  }
  const Metrics metrics = split_metrics(read_whole(path_ / kMetrics), point.step());
  seconds_ = metrics.seconds;
  if (!metrics.beyond.empty()) {
    write_whole(numbered("metrics", ".jsonl", number), metrics.beyond);
    write_whole(path_ / kMetrics, metrics.kept);
  }
  const std::string recipe = read_whole(path_ / kRecipe);
  if (!recipe.empty() && recipe != resolved_recipe) {
    std::filesystem::rename(path_ / kRecipe, numbered("recipe", ".yaml", number));
  }
  for (const checkpoint::Found& found : point.in_folder) {
    if (found.step <= point.step()) {
      checkpoints_.push_back(found);
    } else {
      std::filesystem::create_directories(numbered(kCheckpoints, "", number));
      std::filesystem::rename(found.path, numbered(kCheckpoints, "", number) / found.path.filename());
    }
  }
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
              {"memory", m.memory},
              {"seconds", m.seconds}},
             path_);
  if (!events_) return;
  events_->write(m.step, {{"loss", m.loss},
                          {"lr", m.lr},
                          {"grad_norm", m.grad_norm},
                          {"tokens_per_second", m.tokens_per_second},
                          {"memory", static_cast<double>(m.memory)}});
}

void RunFolder::write(int64_t step, tasks::Split split, const eval::Evaluation& e) {
  Json line{{"step", step}, {"split", to_string(split)}};
  line.update(quality(e));
  write_line(metrics_, line, path_);
  if (!events_) return;
  const std::string prefix = to_string(split) + std::string("/");
  std::vector<io::Scalar> scalars{{prefix + "loss", e.loss}};
  if (e.accuracy) scalars.push_back({prefix + "accuracy", *e.accuracy});
  if (e.bits_per_byte) scalars.push_back({prefix + "bits_per_byte", *e.bits_per_byte});
  events_->write(step, scalars);
}

void RunFolder::write(const Outcome& o) {
  Json json{{"steps", o.steps},
            {"skipped", o.skipped},
            {"seconds", o.seconds},
            {"tokens_per_second", number(std::round(o.tokens_per_second))},
            {"stopped_early", o.stopped_early}};
  if (o.test) json.update(quality(*o.test));
  write_whole(path_ / kOutcome, json.dump() + "\n");
}

void RunFolder::write_samples(const std::string& text) { write_whole(path_ / "samples.txt", text); }

}  // namespace mara::train
