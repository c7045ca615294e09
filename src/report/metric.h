#pragma once

#include <string>

namespace mara::report {

/// What evaluations measure, and how it is shown.
struct Metric {
  const char* key;  // in metrics.jsonl
  const char* title;
  bool higher_is_better;
  double factor;
  const char* unit;
};

inline constexpr Metric kMetrics[] = {{"loss", "loss", false, 1, ""},
                                      {"accuracy", "accuracy", true, 100, " %"},
                                      {"bits_per_byte", "bits per byte", false, 1, ""},
                                      {"perplexity", "perplexity", false, 1, ""}};

/// "98.20 %", "0.0312"
std::string value_text(const Metric& metric, double value);

}  // namespace mara::report
