#pragma once
// What a person sees while a run goes on.

#include <chrono>
#include <string>

#include "eval/evaluate.h"
#include "train/run_folder.h"

namespace mara::train {

/// On a terminal one line that is renewed; otherwise a plain line every few seconds and after each evaluation.
class Progress {
 public:
  /// For a run of `steps` steps of which `done` were taken before.
  Progress(int64_t steps, int64_t done);
  ~Progress();

  void step(const StepMetrics& metrics);
  void evaluated(int64_t step, const eval::Evaluation& evaluation);
  /// Leaves the renewed line as it stands and starts a new one.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(const StepMetrics& metrics) const;

  int64_t steps_, done_;
  bool terminal_, open_ = false;
  Clock::time_point started_, shown_;
  double loss_ = 0, tokens_per_second_ = 0;  // smoothed
  std::string quality_ = "-";                // of the last evaluation
};

}  // namespace mara::train
