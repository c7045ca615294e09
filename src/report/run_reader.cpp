#include "report/run_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ctime>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "config/node.h"
#include "config/text.h"
#include "core/error.h"

namespace mara::report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kMetricsFile = "metrics.jsonl";
constexpr int64_t kMaxLine = 1 << 16;                 // bytes of a line of metrics
constexpr int64_t kMaxText = 1 << 18;                 // bytes of a text that are shown
constexpr int64_t kLinesBeforeDoubt = 100;            // so many damaged ones at the start: another kind of file
constexpr double kMaxStep = 1e15, kMaxValue = 1e100;  // beyond: not what a run measured
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxText, '\0');
  file.read(text.data(), kMaxText);
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  if (file && file.peek() != EOF) text += "\n[cut here, the rest is in " + path.string() + "]\n";
  return text;
}

// Adds the numbers of one line; false where it is not an object with a step.
bool add_line(const char* begin, const char* end, Run& run) {
  const Json object = Json::parse(begin, end, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return false;
  const auto step = object.find("step");
  if (step == object.end() || !step->is_number()) return false;
  const double at = step->get<double>();
  if (!(at >= 0 && at <= kMaxStep)) return false;
  const auto split = object.find("split");
  const bool evaluation = split != object.end();
  if (evaluation && !split->is_string()) return false;
  std::map<std::string, Series>& series = evaluation ? run.evaluations[split->get<std::string>()] : run.training;
  for (const auto& [key, value] : object.items()) {
    if (key == "step" || key == "split") continue;
    if (!value.is_number() && !value.is_boolean() && !value.is_null()) continue;
    const double number = value.is_number()    ? value.get<double>()
                          : value.is_boolean() ? static_cast<double>(value.get<bool>())
                                               : kNan;
    series[key].add(at, std::abs(number) <= kMaxValue ? number : kNan);
  }
  return true;
}

void read_metrics(const fs::path& path, Run& run) {
  std::ifstream file(path, std::ios::binary);
  MARA_CHECK(file.good(), path.string(), ": cannot be read");
  std::vector<char> line(kMaxLine);
  int64_t good = 0;
  while (file.getline(line.data(), kMaxLine) || file.gcount() > 0) {
    const bool complete = file.good();  // its newline was there
    const bool too_long = file.fail();
    if (too_long) {
      file.clear();
      file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    }
    const std::streamsize length = file.gcount() - (complete ? 1 : 0);
    if (!too_long && length == 0) continue;
    if (!too_long && add_line(line.data(), line.data() + length, run)) {
      ++good;
    } else {
      run.damaged_lines += complete || too_long;
    }
    MARA_CHECK(good > 0 || run.damaged_lines < kLinesBeforeDoubt, path.string(),
               ": one JSON object with a step per line is required, there is none in the first ", kLinesBeforeDoubt,
               " lines; give a folder that mara train made");
  }
  MARA_CHECK(good > 0 || run.damaged_lines == 0, path.string(),
             ": one JSON object with a step per line is required, there is none; give a folder that mara train made");
}

// Files metrics.<n>.jsonl.
int64_t earlier_attempts(const fs::path& folder) {
  int64_t count = 0;
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, code)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("metrics.") || !name.ends_with(".jsonl") || name == "metrics.jsonl") continue;
    const std::string number = name.substr(8, name.size() - 14);
    count += number.find_first_not_of("0123456789") == number.npos;
  }
  return count;
}

// Seconds of the "2026-05-04 12:00:00" that a log line begins with.
std::optional<double> time_of(const std::string& line) {
  std::tm time{};
  const char* end = strptime(line.c_str(), "%Y-%m-%d %H:%M:%S", &time);
  return end == line.c_str() + 19 ? std::optional(static_cast<double>(timegm(&time))) : std::nullopt;
}

void read_log(const fs::path& path, Run& run) {
  std::ifstream file(path, std::ios::binary);
  std::string line(19, '\0');
  if (!file.read(line.data(), 19)) return;
  const std::optional<double> begin = time_of(line);
  if (!begin) return;
  run.started = line;
  file.seekg(0, std::ios::end);
  file.seekg(std::max<std::streamoff>(file.tellg() - std::streamoff{kMaxLine}, 0));
  while (std::getline(file, line)) {
    if (const std::optional<double> time = time_of(line.substr(0, 19))) run.seconds = *time - *begin;
  }
}

void flatten(const config::Node& node, const std::string& path, Run& run) {
  if (node.kind == config::Node::Kind::mapping) {
    for (size_t i = 0; i < node.items.size(); ++i) flatten(node.items[i], config::join_key(path, node.keys[i]), run);
    return;
  }
  std::vector<std::string> items;
  for (const config::Node& item : node.items) {
    items.push_back(item.kind == config::Node::Kind::scalar ? item.text : config::describe(item));
  }
  run.settings.emplace_back(path,
                            node.kind == config::Node::Kind::scalar ? node.text : "[" + config::join(items) + "]");
}

// A recipe that cannot be parsed is still shown as it is.
void read_settings(Run& run) {
  try {
    flatten(config::parse_yaml(run.recipe, {.name = "recipe.yaml"}), "", run);
  } catch (const Error&) {
    run.settings.clear();
  }
}

const Series& find(const std::map<std::string, Series>& all, const std::string& key) {
  static const Series none;
  const auto found = all.find(key);
  return found == all.end() ? none : found->second;
}

}  // namespace

const Series& Run::of_training(const std::string& key) const { return find(training, key); }

const Series& Run::of_evaluation(const std::string& split, const std::string& key) const {
  const auto found = evaluations.find(split);
  return found == evaluations.end() ? find({}, key) : find(found->second, key);
}

RunResult result_of(const Run& run, const Metric& metric) {
  if (const auto test = last_of(run.of_evaluation("test", metric.key))) return {test, true};
  return {best_of(run.of_evaluation("valid", metric.key), metric.higher_is_better), false};
}

std::vector<fs::path> run_folders(const fs::path& folder) {
  std::error_code code;
  std::vector<fs::path> out;
  if (!fs::exists(folder / kMetricsFile, code)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, code)) {
      if (fs::is_regular_file(entry.path() / kMetricsFile, code)) out.push_back(entry.path());
    }
  }
  if (out.empty()) return {folder};
  std::sort(out.begin(), out.end(),
            [](const fs::path& a, const fs::path& b) { return strverscmp(a.c_str(), b.c_str()) < 0; });
  return out;
}

Run read_run(const fs::path& folder) {
  std::error_code code;
  MARA_CHECK(fs::exists(folder, code), folder.string(), ": there is no such folder; give one that mara train made");
  MARA_CHECK(fs::is_directory(folder, code), folder.string(), ": a run folder is required, this is a file");
  const fs::path metrics = folder / kMetricsFile;
  MARA_CHECK(fs::is_regular_file(metrics, code), folder.string(),
             ": not a run folder, it has no metrics.jsonl; give one that mara train made");
  Run run;
  run.folder = folder.string();
  const fs::path absolute = fs::canonical(folder, code);
  run.name = absolute.filename().string();
  read_metrics(metrics, run);
  run.earlier_attempts = earlier_attempts(folder);
  read_log(folder / "log.txt", run);
  if (const auto trained = last_of(run.of_training("seconds"))) run.seconds = trained->value;
  run.recipe = read_text(folder / "recipe.yaml");
  run.samples = read_text(folder / "samples.txt");
  read_settings(run);
  return run;
}

}  // namespace mara::report
