#pragma once
// Numbers over steps, and what of them a picture of some hundred pixels can show.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mara::report {

/// Steps rise strictly; a value is NaN where the run had none (a step that was not finite).
struct Series {
  std::vector<double> steps, values;

  size_t size() const { return steps.size(); }
  bool empty() const { return steps.empty(); }
  /// Appends. A step that is not beyond the last one replaces everything from there on: the run went back.
  void add(double step, double value);
};

struct Point {
  double step = 0, value = 0;
};
/// The last and the best finite value; nothing without one.
std::optional<Point> last_of(const Series& series);
std::optional<Point> best_of(const Series& series, bool higher_is_better);

/// What one pixel column holds.
struct Column {
  double first = 0, last = 0;  // steps
  double low = 0, high = 0;    // smallest and largest value
  bool low_first = true;       // which of the two came first
  double smooth = 0;           // smoothed value at the last step
  bool after_gap = false;      // values are missing between the column before and this one
};

/// Cuts [first step, last step] into `count` columns and keeps the extremes of each, so no peak is lost however long
/// the run. Columns without a value are left out. `smooth` is as long as the series.
std::vector<Column> columns(const Series& series, const std::vector<double>& smooth, int count);

/// Mean over the neighbours up to `reach` points away on both sides, NaN left out. Near the start the window shrinks
/// on both sides, so a steep beginning stays as steep; at the end only on the missing side.
std::vector<double> smoothed(const std::vector<double>& values, int64_t reach);

/// One hundredth of the points.
int64_t smoothing_reach(const Series& series);

/// Smallest and largest finite value; {inf, -inf} without one.
std::pair<double, double> extremes(const std::vector<double>& values);

}  // namespace mara::report
