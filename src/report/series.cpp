#include "report/series.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mara::report {

void Series::add(double step, double value) {
  while (!steps.empty() && steps.back() >= step) {
    steps.pop_back();
    values.pop_back();
  }
  steps.push_back(step);
  values.push_back(value);
}

std::optional<Point> last_of(const Series& series) {
  for (size_t i = series.size(); i-- > 0;) {
    if (std::isfinite(series.values[i])) return Point{series.steps[i], series.values[i]};
  }
  return std::nullopt;
}

std::optional<Point> best_of(const Series& series, bool higher_is_better) {
  std::optional<Point> best;
  for (size_t i = 0; i < series.size(); ++i) {
    const double value = series.values[i];
    if (!std::isfinite(value)) continue;
    if (!best || (higher_is_better ? value > best->value : value < best->value)) best = {series.steps[i], value};
  }
  return best;
}

std::vector<Column> columns(const Series& series, const std::vector<double>& smooth, int count) {
  std::vector<Column> out;
  if (series.empty()) return out;
  const double start = series.steps.front();
  const double width = std::max((series.steps.back() - start) / count, std::numeric_limits<double>::min());
  double filled = -1;    // the column that out.back() is
  bool missing = false;  // since the last value
  for (size_t i = 0; i < series.size(); ++i) {
    const double step = series.steps[i], value = series.values[i];
    if (!std::isfinite(value)) {
      missing = true;
      continue;
    }
    const double column = std::min(std::floor((step - start) / width), count - 1.0);
    if (column != filled) {
      out.push_back(
          {.first = step, .last = step, .low = value, .high = value, .smooth = smooth[i], .after_gap = missing});
      filled = column;
      missing = false;
      continue;
    }
    missing = false;
    Column& c = out.back();
    c.last = step;
    c.smooth = smooth[i];
    if (value < c.low) c.low = value, c.low_first = false;
    if (value > c.high) c.high = value, c.low_first = true;
  }
  return out;
}

std::vector<double> smoothed(const std::vector<double>& values, int64_t reach) {
  const int64_t n = static_cast<int64_t>(values.size());
  std::vector<double> sum(n + 1), count(n + 1);
  for (int64_t i = 0; i < n; ++i) {
    const bool finite = std::isfinite(values[i]);
    sum[i + 1] = sum[i] + (finite ? values[i] : 0);
    count[i + 1] = count[i] + finite;
  }
  std::vector<double> out(n);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t before = std::min(reach, i), after = std::min(before, n - 1 - i);
    const int64_t begin = i - before, end = i + after + 1;
    out[i] = (sum[end] - sum[begin]) / (count[end] - count[begin]);
  }
  return out;
}

int64_t smoothing_reach(const Series& series) { return static_cast<int64_t>(series.size()) / 100; }

std::pair<double, double> extremes(const std::vector<double>& values) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::pair<double, double> out{kInfinity, -kInfinity};
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    out.first = std::min(out.first, value);
    out.second = std::max(out.second, value);
  }
  return out;
}

}  // namespace mara::report
