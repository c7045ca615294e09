#pragma once
// What a person sees while a run goes on.

#include <chrono>
#include <optional>
#include <string>

#include "eval/evaluate.h"
#include "train/run_folder.h"

namespace mara::train {

/// On a terminal one line that is renewed; otherwise a plain line every few seconds and after each evaluation.
class Progress {
 public:
  explicit Progress(int64_t steps);
  ~Progress();

  void step(const StepMetrics& metrics);
  void evaluated(int64_t step, const eval::Evaluation& evaluation);
  /// Leaves the renewed line as it stands and starts a new one.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(const StepMetrics& metrics) const;

  int64_t steps_;
  bool terminal_, open_ = false;
  Clock::time_point started_, shown_;
  double loss_ = 0, tokens_per_second_ = 0;  // smoothed
  std::optional<double> accuracy_;
};

/// "1,234,567"
std::string with_commas(int64_t number);
/// "8.3 s", "2 min 05 s", "1 h 02 min"
std::string duration(double seconds);

}  // namespace mara::train
