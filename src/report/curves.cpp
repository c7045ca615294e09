#include "report/curves.h"

#include <fmt/format.h>

#include <functional>
#include <string_view>

#include "core/format.h"
#include "report/metric.h"

namespace mara::report {
namespace {

using Pick = std::function<const Series&(const Run&)>;

Pick training(const char* key) {
  return [key](const Run& run) -> const Series& { return run.of_training(key); };
}

Pick validation(const char* key) {
  return [key](const Run& run) -> const Series& { return run.of_evaluation("valid", key); };
}

// The same series of every run.
Chart of_runs(const std::vector<Run>& runs, Chart chart, const Pick& series) {
  for (size_t i = 0; i < runs.size(); ++i) {
    chart.lines.push_back({.name = runs[i].name, .style = i, .series = &series(runs[i])});
  }
  return chart;
}

// Every split of one run but `test`, which is a single point at the end.
Chart of_splits(const Run& run, Chart chart, const char* key) {
  size_t style = 0;
  for (const auto& [split, series] : run.evaluations) {
    if (split == "test" || !series.contains(key)) continue;
    chart.lines.push_back(
        {.name = split == "valid" ? "validation" : split, .style = ++style, .series = &series.at(key)});
  }
  return chart;
}

Chart noisy(Chart chart) {
  for (Line& line : chart.lines) line.noisy = true;
  return chart;
}

Chart of_metric(const Metric& metric) {
  Chart chart{.title = std::string("Validation ") + metric.title, .unit = metric.unit, .factor = metric.factor};
  if (metric.higher_is_better) chart.high = metric.factor;
  chart.may_be_logarithmic = !metric.higher_is_better;
  return chart;
}

}  // namespace

std::vector<double> skipped_steps(const Run& run) {
  const Series& skipped = run.of_training("skipped");
  std::vector<double> out;
  for (size_t i = 0; i < skipped.size(); ++i) {
    if (skipped.values[i] > 0) out.push_back(skipped.steps[i]);
  }
  return out;
}

std::vector<Chart> curves(const std::vector<Run>& runs) {
  const bool one = runs.size() == 1;
  std::vector<Chart> out;
  const auto loss = [&](const char* title) {
    return noisy(
        of_runs(runs, {.title = title, .may_be_logarithmic = true, .wide = true, .height = 360}, training("loss")));
  };
  if (one) {
    // Training and validation in one chart, where a growing distance shows.
    out.push_back(of_splits(runs[0], loss("Loss"), "loss"));
    out.back().lines[0].name = "training";
  } else {
    out.push_back(loss("Training loss"));
  }
  for (const Metric& metric : kMetrics) {
    const bool shown_above = one && metric.key == std::string_view("loss");
    if (shown_above) continue;
    out.push_back(one ? of_splits(runs[0], of_metric(metric), metric.key)
                      : of_runs(runs, of_metric(metric), validation(metric.key)));
  }
  out.push_back(of_runs(runs, {.title = "Learning rate", .low = 0}, training("lr")));
  out.push_back(noisy(of_runs(runs, {.title = "Gradient norm", .may_be_logarithmic = true}, training("grad_norm"))));
  if (one) out.front().marks = skipped_steps(runs[0]);
  out.push_back(noisy(of_runs(runs, {.title = "Tokens per second", .low = 0}, training("tokens_per_second"))));

  for (Chart& chart : out) {
    std::erase_if(chart.lines, [](const Line& line) { return !has_values(*line.series); });
    chart.legend = one && chart.lines.size() > 1;
    if (one && chart.lines.size() == 1) chart.lines[0].name = chart.title;
  }
  std::erase_if(out, [](const Chart& chart) { return chart.lines.empty(); });
  if (out.size() % 2 == 0 && !out.empty()) out.back().wide = true;  // the others stand in pairs below the first
  return out;
}

}  // namespace mara::report
