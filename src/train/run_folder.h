#pragma once
// What a run leaves behind: runs/<name>/{recipe.yaml, metrics.jsonl, log.txt}.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "eval/evaluate.h"

namespace mara::train {

struct StepMetrics {
  int64_t step = 0;      // 1-based: steps done
  double loss = 0;       // mean over the scored positions of the batch, nats
  double lr = 0;
  double grad_norm = 0;  // of the mean loss, before clipping
  bool skipped = false;  // not finite: the weights were left alone
  double tokens_per_second = 0;  // since the last step, input tokens
  int64_t memory = 0;    // bytes of the step pool at its peak
};

class RunFolder {
 public:
  /// Makes the folder and writes the resolved recipe. An existing one is refused, or with `force` moved to
  /// <path>.old-N: nothing is deleted.
  RunFolder(const std::filesystem::path& path, const std::string& resolved_recipe, bool force);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  /// Throws Error if a RunFolder could not be made there: for before the work that comes first.
  static void check_free(const std::filesystem::path& path, bool force);

  const std::filesystem::path& path() const { return path_; }
  /// One JSON object per line, written through at once.
  void write(const StepMetrics& metrics);
  void write(int64_t step, tasks::Split split, const eval::Evaluation& evaluation);

 private:
  std::filesystem::path path_;
  std::ofstream metrics_;
};

}  // namespace mara::train
