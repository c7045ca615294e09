#include "report/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/format.h"
#include "report/curves.h"
#include "report/html.h"
#include "report/metric.h"
#include "report/svg.h"
#include "report/text_table.h"

namespace mara::report {
namespace {

// Single steps vary from batch to batch, so what the curve shows at its end says more.
std::optional<Point> last_smoothed(const Series& series) {
  return last_of({series.steps, smoothed(series.values, smoothing_reach(series))});
}

std::optional<double> median(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string count_text(double count) { return with_commas(std::llround(std::clamp(count, -1e18, 1e18))); }

std::string value_text(const Metric& metric, const std::optional<Point>& point) {
  return point ? value_text(metric, point->value) : "";
}

std::string with_step(const std::string& value, const std::optional<Point>& point) {
  return point ? value + " <small>at " + count_text(point->step) + "</small>" : "";
}

double steps_done(const Run& run) {
  double done = 0;
  for (const auto& [key, series] : run.training) done = std::max(done, series.empty() ? 0 : series.steps.back());
  return done;
}

// " of 6,000" where the recipe says so and the run did not get there.
std::string planned_text(const Run& run) {
  for (const auto& [key, value] : run.settings) {
    if (key != "train.steps" || value.empty() || value.size() > 15) continue;
    if (value.find_first_not_of("0123456789") != value.npos || std::stod(value) <= steps_done(run)) continue;
    return " of " + with_commas(std::stoll(value));
  }
  return "";
}

std::string time_text(const Run& run) { return run.seconds ? duration(*run.seconds) : ""; }

std::string speed_text(const Run& run) {
  const std::optional<double> speed = median(run.of_training("tokens_per_second").values);
  return speed ? count_text(*speed) : "";
}

std::string training_loss_text(const Run& run) {
  return value_text(kMetrics[0], last_smoothed(run.of_training("loss")));
}

std::string memory_text(const Run& run) {
  const auto [low, high] = extremes(run.of_training("memory").values);
  return low <= high ? bytes_text(std::llround(std::clamp(high, 0.0, 1e18))) : "";
}

void add_tile(std::string& out, const std::string& label, const std::string& value) {
  if (!value.empty()) out += "<div class=\"tile\"><span>" + label + "</span><b>" + value + "</b></div>\n";
}

}  // namespace

std::string tiles(const Run& run) {
  std::string out;
  add_tile(out, "Steps" + planned_text(run), count_text(steps_done(run)));
  add_tile(out, "Time", time_text(run));
  add_tile(out, "Training loss", training_loss_text(run));
  for (const Metric& metric : kMetrics) {
    if (metric.key == kMetrics[0].key) continue;  // the loss is in the table below
    const RunResult result = result_of(run, metric);
    add_tile(out, (result.tested ? "Test " : "Best validation ") + std::string(metric.title),
             value_text(metric, result.point));
  }
  add_tile(out, "Tokens per second", speed_text(run));
  add_tile(out, "Memory of a step", memory_text(run));
  return "<section class=\"tiles\">" + out + "</section>\n";
}

std::string evaluations(const Run& run) {
  std::vector<std::vector<std::string>> rows;
  for (const Metric& metric : kMetrics) {
    const Series& valid = run.of_evaluation("valid", metric.key);
    const auto last = last_of(valid), best = best_of(valid, metric.higher_is_better);
    const auto tested = last_of(run.of_evaluation("test", metric.key));
    if (last || tested) {
      rows.push_back({metric.title, with_step(value_text(metric, last), last),
                      with_step(value_text(metric, best), best), with_step(value_text(metric, tested), tested)});
    }
  }
  return rows.empty() ? "" : "<h2>Evaluations</h2>\n" + table({"", "last validation", "best validation", "test"}, rows);
}

std::string comparison(const std::vector<Run>& runs) {
  std::vector<std::string> headings{"run"};
  std::vector<std::vector<std::string>> rows;
  for (size_t i = 0; i < runs.size(); ++i) {
    rows.push_back({key(i, runs[i].name)});
  }
  const auto add = [&](const std::string& heading, const auto& text) {
    std::vector<std::string> cells;
    for (const Run& run : runs) cells.push_back(text(run));
    if (std::all_of(cells.begin(), cells.end(), [](const std::string& cell) { return cell.empty(); })) return;
    headings.push_back(heading);
    for (size_t i = 0; i < runs.size(); ++i) rows[i].push_back(cells[i]);
  };
  add("steps", [](const Run& run) { return count_text(steps_done(run)) + "<small>" + planned_text(run) + "</small>"; });
  add("time", time_text);
  add("training loss", training_loss_text);
  for (const Metric& metric : kMetrics) {
    add(std::string("best validation ") + metric.title, [&](const Run& run) {
      const auto best = best_of(run.of_evaluation("valid", metric.key), metric.higher_is_better);
      return with_step(value_text(metric, best), best);
    });
  }
  for (const Metric& metric : kMetrics) {
    add(std::string("test ") + metric.title,
        [&](const Run& run) { return value_text(metric, last_of(run.of_evaluation("test", metric.key))); });
  }
  add("tokens per second", speed_text);
  return "<h2>Summary</h2>\n" + table(headings, rows);
}

std::string results_text(const std::vector<Run>& runs) {
  std::vector<std::string> headings{"run", "steps", "time"};
  std::vector<std::vector<std::string>> rows;
  for (const Run& run : runs) rows.push_back({run.name, count_text(steps_done(run)), time_text(run)});
  for (const Metric& metric : kMetrics) {
    const auto has = [&](const Run& run) { return result_of(run, metric).point.has_value(); };
    if (std::none_of(runs.begin(), runs.end(), has)) continue;
    headings.push_back(metric.title);
    for (size_t i = 0; i < runs.size(); ++i) rows[i].push_back(value_text(metric, result_of(runs[i], metric).point));
  }
  return text_table(headings, rows);
}

std::string differing_settings(const std::vector<Run>& runs) {
  std::vector<std::string> keys;  // in the order in which they first appear
  std::vector<std::map<std::string, std::string>> values;
  for (const Run& run : runs) {
    values.emplace_back(run.settings.begin(), run.settings.end());
    for (const auto& [key, value] : run.settings) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  std::vector<std::string> headings{"setting"};
  for (size_t i = 0; i < runs.size(); ++i) {
    headings.push_back(key(i, runs[i].name));
  }
  std::vector<std::vector<std::string>> rows;
  for (const std::string& key : keys) {
    std::vector<std::string> row{escape(key)};
    bool equal = true;
    for (const auto& of_run : values) {
      const auto found = of_run.find(key);
      row.push_back(found == of_run.end() ? "<small>none</small>" : escape(found->second));
      equal = equal && row.back() == row[1];
    }
    if (!equal) rows.push_back(row);
  }
  return rows.empty() ? "" : "<h2>Settings that differ</h2>\n" + table(headings, rows);
}

std::string notes(const Run& run, bool with_name) {
  std::string out;
  const auto add = [&](const std::string& text) {
    out += "<p class=\"note\">" + (with_name ? "<b>" + escape(run.name) + "</b>: " : "") + text + "</p>\n";
  };
  if (run.training.empty()) add("No step has been recorded yet.");
  if (const size_t skipped = skipped_steps(run).size(); skipped > 0) {
    add(with_commas(static_cast<int64_t>(skipped)) + (skipped == 1 ? " step was" : " steps were") +
        " skipped: loss or gradient was not finite.");
  }
  if (run.earlier_attempts > 0) {
    add("The run was resumed from a checkpoint; steps done beyond it before are not shown, they are in " +
        with_commas(run.earlier_attempts) + (run.earlier_attempts == 1 ? " file" : " files") +
        " metrics.&lt;n&gt;.jsonl.");
  }
  if (run.damaged_lines > 0) {
    add(with_commas(run.damaged_lines) + " damaged " + (run.damaged_lines == 1 ? "line" : "lines") +
        " of metrics.jsonl left out.");
  }
  return out;
}

}  // namespace mara::report
