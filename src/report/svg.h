#pragma once
// Line charts as SVG, drawn with the classes and colours of the page's style (html.cpp), which also has the script that
// shows values under the pointer.

#include <optional>
#include <string>
#include <vector>

#include "report/series.h"

namespace mara::report {

/// Classes that give line number `index` its colour: "c3"; from the ninth line on they come again, "c3 dashed".
std::string line_style(size_t index);

/// A name behind a piece of its line.
std::string key(size_t index, const std::string& name);

struct Line {
  std::string name;
  size_t style = 0;  // see line_style
  const Series* series = nullptr;
  bool noisy = false;  // drawn faint, its smoothed course on top; otherwise as it is, with dots where there is room
  const Series *low = nullptr, *high = nullptr;  // at the same steps: ends of whiskers
};

struct Chart {
  std::string title;
  std::string unit;                 // behind values under the pointer: " %"
  std::vector<Line> lines;          // one or more, each with a value
  double factor = 1;                // values are shown times this
  std::optional<double> low, high;  // of the shown values: where the axis begins or must not go beyond
  bool may_be_logarithmic = false;  // if so, it is where all values are positive and span a factor of 30 or more
  std::vector<double> marks;        // skipped steps, marked on the axis
  std::string x = "step";           // what the horizontal axis counts
  std::vector<double> places;       // its ticks, rising, from end to end; empty: round steps from 0
  bool wide = false;                // across the page
  int height = 260;
  bool legend = false;  // names of the lines; the page names them elsewhere otherwise
};

/// True if there is a finite value, so anything to draw.
bool has_values(const Series& series);

/// The chart as a <figure>: title, legend of several lines, picture. The values under the pointer are in its
/// attributes.
std::string to_svg(const Chart& chart);

/// Multiples of 1, 2 or 5 times a power of ten that cover [low, high] with about `count` steps.
std::vector<double> linear_ticks(double low, double high, int count);
/// Powers of ten from the one below `low` to the one above `high`; with 2 and 5 between where they are few.
std::vector<double> logarithmic_ticks(double low, double high);

/// Whether places, rising, are spread more evenly by their logarithms.
bool spread_by_logarithm(const std::vector<double>& places);

/// Short: 0.05, 12.5, 20k, 3M, 1e-5.
std::string tick_text(double value);

}  // namespace mara::report
