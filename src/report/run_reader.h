#pragma once
// A run folder as plain data.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/metric.h"
#include "report/series.h"

namespace mara::report {

struct Run {
  std::string name;                                                  // of the folder
  std::string folder;                                                // as it was given
  std::map<std::string, Series> training;                            // by key: loss, lr, grad_norm, ...
  std::map<std::string, std::map<std::string, Series>> evaluations;  // by split and key: valid, loss
  int64_t earlier_attempts = 0;   // files metrics.<n>.jsonl: steps that were lost when the run was resumed
  int64_t damaged_lines = 0;      // of metrics.jsonl, an incomplete last one not counted
  std::string started;            // "2026-05-04 12:00:00", of the first line of log.txt; empty: unknown
  std::optional<double> seconds;  // of training; of runs that do not say it from first to last line of log.txt
  std::string recipe, samples;    // texts; empty: there is none
  std::string parameters;         // a table as text, which follows from the recipe
  std::vector<std::pair<std::string, std::string>> settings;  // the recipe flat: {"optim.lr", "0.002"}

  /// Empty where the run has no such values.
  const Series& of_training(const std::string& key) const;
  const Series& of_evaluation(const std::string& split, const std::string& key) const;
};

/// How good a run is: its test, or its best validation where there is none.
struct RunResult {
  std::optional<Point> point;  // nothing: never evaluated
  bool tested = false;
};
RunResult result_of(const Run& run, const Metric& metric);

/// The folder itself, or where it is no run but holds some, as the folder of a sweep does, those in it, numbers in
/// their names by size.
std::vector<std::filesystem::path> run_folders(const std::filesystem::path& folder);

/// Reads metrics.jsonl, and recipe.yaml, log.txt and samples.txt where they are there, of a run that may still be going
/// on; `parameters` is the caller's to fill, who knows what a recipe means. Keys are taken as they come, unknown ones
/// included; null is NaN. Throws Error for a folder that is not a run.
Run read_run(const std::filesystem::path& folder);

}  // namespace mara::report
