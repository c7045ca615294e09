#include "report/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <string_view>

#include "config/text.h"
#include "core/error.h"
#include "report/text_table.h"

namespace mara::report {
namespace {

constexpr const char *kWidth = "model.width", *kMixer = "model.mixer.kind", *kNone = "none";
constexpr const char* kShown[] = {"accuracy", "bits_per_byte", "loss"};

using Settings = std::map<std::string, std::string>;

std::optional<double> number_in(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && std::isfinite(value) ? std::optional(value) : std::nullopt;
}

/// Settings that do not change what is learned, and the seed, which the runs are averaged over.
bool is_aside(const std::string& key) {
  constexpr const char* kAside[] = {"run.", "eval.", "checkpoint.", "log."};
  return std::any_of(std::begin(kAside), std::end(kAside), [&](const char* group) { return key.starts_with(group); });
}

class Grouping {
 public:
  explicit Grouping(const std::vector<Run>& runs) {
    for (const Run& run : runs) {
      settings_.emplace_back(run.settings.begin(), run.settings.end());
      for (const auto& [key, value] : run.settings) {
        if (std::find(keys_.begin(), keys_.end(), key) == keys_.end()) keys_.push_back(key);
      }
    }
  }

  size_t size() const { return settings_.size(); }
  const std::string& value(size_t run, const std::string& key) const {
    static const std::string none = kNone;
    const auto found = settings_[run].find(key);
    return found == settings_[run].end() ? none : found->second;
  }

  /// The values of a key that is a number in every run, rising; none otherwise.
  std::vector<double> places(const std::string& key) const {
    std::vector<double> out;
    for (size_t run = 0; run < size(); ++run) {
      const std::optional<double> number = number_in(value(run, key));
      if (!number) return {};
      out.push_back(*number);
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  std::string default_x() const {
    std::string best;
    size_t most = 1;
    for (const std::string& key : keys_) {
      const size_t count = is_aside(key) ? 0 : places(key).size();
      if (count < 2 || (key != kWidth && count <= most)) continue;
      best = key;
      most = count;
      if (key == kWidth) break;
    }
    return best;
  }

  std::string given_x(const std::string& key) const {
    std::vector<std::string> numbers;
    for (const std::string& k : keys_) {
      if (places(k).size() > 1) numbers.push_back(k);
    }
    MARA_CHECK(std::find(numbers.begin(), numbers.end(), key) != numbers.end(), "--x ", key,
               ": a number that every run's recipe has and that differs is required",
               config::suggestion(key, numbers, "there are"));
    return key;
  }

  std::vector<std::string> given_lines(const std::vector<std::string>& lines) const {
    for (const std::string& key : lines) {
      MARA_CHECK(std::find(keys_.begin(), keys_.end(), key) != keys_.end(), "--lines ", key,
                 ": a key of the runs' recipes is required", config::suggestion(key, keys_, "there are"));
    }
    return lines;
  }

  /// Keys are taken, the mixer first, as long as they tell runs apart that the keys before do not.
  std::vector<std::string> default_lines(const std::string& x) const {
    std::vector<std::string> candidates = keys_, out;
    std::stable_partition(candidates.begin(), candidates.end(), [](const std::string& key) { return key == kMixer; });
    for (const std::string& key : candidates) {
      if (key == x || is_aside(key)) continue;
      std::map<std::vector<std::string>, std::string> seen;
      bool divides = false;
      for (size_t run = 0; run < size(); ++run) {
        std::vector<std::string> group = values(run, out);
        // Where the place is all that differs, what differs along with it is no other line.
        if (key != kMixer) group.push_back(value(run, x));
        const auto [first, is_first] = seen.emplace(std::move(group), value(run, key));
        divides = divides || (!is_first && first->second != value(run, key));
      }
      if (divides) out.push_back(key);
    }
    return out;
  }

  std::vector<std::string> values(size_t run, const std::vector<std::string>& keys) const {
    std::vector<std::string> out;
    for (const std::string& key : keys) out.push_back(value(run, key));
    return out;
  }

  /// "hyena, num_pairs 8"
  std::string name(size_t run, const std::vector<std::string>& lines) const {
    if (lines.empty()) return value(run, kMixer) == kNone ? "runs" : value(run, kMixer);
    std::string out;
    for (const std::string& key : lines) {
      const std::string text = key == kMixer ? "" : key.substr(key.rfind('.') + 1) + " ";
      out += (out.empty() ? "" : ", ") + text + value(run, key);
    }
    return out;
  }

 private:
  std::vector<Settings> settings_;  // by run
  std::vector<std::string> keys_;   // of all runs, in the order in which they first appear
};

std::string title_of(const Metric& metric, size_t tested, size_t evaluated) {
  if (tested == evaluated) return std::string("Test ") + metric.title;
  return (tested == 0 ? "Best validation " : "Test or best validation ") + std::string(metric.title);
}

const Metric& metric_of(const std::string& key) {
  return *std::find_if(std::begin(kMetrics), std::end(kMetrics), [&](const Metric& m) { return m.key == key; });
}

}  // namespace

std::optional<Sweep> sweep(const std::vector<Run>& all, const Axes& axes) {
  std::vector<Run> runs;
  std::copy_if(all.begin(), all.end(), std::back_inserter(runs), [](const Run& run) { return !run.settings.empty(); });
  const Grouping grouping(runs);
  Sweep out{.x = axes.x.empty() ? grouping.default_x() : grouping.given_x(axes.x)};
  const std::vector<std::string> lines =
      axes.lines.empty() ? grouping.default_lines(out.x) : grouping.given_lines(axes.lines);
  if (out.x.empty()) return std::nullopt;
  out.places = grouping.places(out.x);

  std::vector<size_t> line_of;  // by run
  for (size_t run = 0; run < runs.size(); ++run) {
    const std::string name = grouping.name(run, lines);
    const auto found = std::find(out.names.begin(), out.names.end(), name);
    line_of.push_back(static_cast<size_t>(found - out.names.begin()));
    if (found == out.names.end()) out.names.push_back(name);
  }
  bool joins_places = false;
  for (const char* key : kShown) {
    SweepMetric of{.metric = &metric_of(key), .lines = std::vector<SweepMetric::Line>(out.names.size())};
    std::vector<std::map<double, std::vector<double>>> values(out.names.size());  // by place
    size_t tested = 0, evaluated = 0;
    for (size_t run = 0; run < runs.size(); ++run) {
      const RunResult result = result_of(runs[run], *of.metric);
      if (!result.point) continue;
      ++evaluated;
      tested += result.tested;
      values[line_of[run]][*number_in(grouping.value(run, out.x))].push_back(result.point->value);
    }
    for (size_t i = 0; i < values.size(); ++i) {
      for (const auto& [place, found] : values[i]) {
        const auto [low, high] = extremes(found);
        double sum = 0;
        for (const double value : found) sum += value;
        of.lines[i].mean.add(place, sum / static_cast<double>(found.size()));
        of.lines[i].low.add(place, low);
        of.lines[i].high.add(place, high);
        of.lines[i].counts.push_back(found.size());
      }
      joins_places = joins_places || values[i].size() > 1;
    }
    of.title = title_of(*of.metric, tested, evaluated);
    if (evaluated > 0) out.metrics.push_back(std::move(of));
  }
  const bool asked_for = !axes.x.empty() || !axes.lines.empty();
  return joins_places || asked_for ? std::optional(std::move(out)) : std::nullopt;
}

std::vector<Chart> sweep_charts(const Sweep& sweep) {
  std::vector<Chart> out;
  for (const SweepMetric& of : sweep.metrics) {
    Chart chart{.title = of.title + " against " + sweep.x,
                .unit = of.metric->unit,
                .factor = of.metric->factor,
                .may_be_logarithmic = !of.metric->higher_is_better,
                .x = sweep.x,
                .places = sweep.places,
                .height = 320,
                .legend = sweep.names.size() > 1};
    if (of.metric->higher_is_better) chart.high = of.metric->factor;
    for (size_t i = 0; i < sweep.names.size(); ++i) {
      const SweepMetric::Line& line = of.lines[i];
      if (line.mean.empty()) continue;
      chart.lines.push_back(
          {.name = sweep.names[i], .style = i, .series = &line.mean, .low = &line.low, .high = &line.high});
    }
    out.push_back(std::move(chart));
  }
  if (out.size() % 2 == 1) out.back().wide = true;
  return out;
}

SweepTable sweep_table(const Sweep& sweep, const SweepMetric& of) {
  size_t fewest = SIZE_MAX, most = 0;
  for (const SweepMetric::Line& line : of.lines) {
    for (const size_t count : line.counts) {
      fewest = std::min(fewest, count);
      most = std::max(most, count);
    }
  }
  SweepTable out{.title = of.title, .headings = {sweep.x}};
  if (most > 1)
    out.title += ", mean (lowest to highest) of " + (fewest < most ? "" : std::to_string(most) + " ") + "runs";
  for (const double place : sweep.places) out.headings.push_back(fmt::format("{:.6g}", place));
  for (size_t i = 0; i < sweep.names.size(); ++i) {
    std::vector<std::string> row{sweep.names[i]};
    const SweepMetric::Line& line = of.lines[i];
    const auto without_unit = [&](double value) {
      const std::string text = value_text(*of.metric, value);
      return text.substr(0, text.size() - std::string_view(of.metric->unit).size());
    };
    for (const double place : sweep.places) {
      const auto found = std::find(line.mean.steps.begin(), line.mean.steps.end(), place);
      const auto k = static_cast<size_t>(found - line.mean.steps.begin());
      row.emplace_back();
      if (k == line.mean.size()) continue;
      row.back() = value_text(*of.metric, line.mean.values[k]);
      if (most == 1) continue;
      row.back() += fmt::format(" ({} to {}{})", without_unit(line.low.values[k]), without_unit(line.high.values[k]),
                                fewest < most ? fmt::format("; {}", line.counts[k]) : "");
    }
    out.rows.push_back(row);
  }
  return out;
}

std::string sweep_text(const Sweep& sweep) {
  std::string out;
  for (const SweepMetric& metric : sweep.metrics) {
    const SweepTable table = sweep_table(sweep, metric);
    out += table.title + "\n" + text_table(table.headings, table.rows) + "\n";
  }
  return out;
}

}  // namespace mara::report
