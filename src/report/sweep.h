#pragma once
// Runs that differ in a number: how good they are against it, a line for each other setting, over the seeds.

#include <optional>
#include <string>
#include <vector>

#include "report/metric.h"
#include "report/run_reader.h"
#include "report/svg.h"

namespace mara::report {

/// What the reader of a report asks for; empty: see `sweep`.
struct Axes {
  std::string x;                   // key of the recipe: "model.width"
  std::vector<std::string> lines;  // keys of the recipe
};

/// One quality of the runs.
struct SweepMetric {
  const Metric* metric = nullptr;
  std::string title;  // "Test accuracy"; of runs without a test "Best validation accuracy"
  struct Line {
    Series mean, low, high;      // over the runs at each place; the place stands where a step would
    std::vector<size_t> counts;  // of runs
  };
  std::vector<Line> lines;  // as many as Sweep::names, those without a value empty
};

struct Sweep {
  std::string x;                   // the key
  std::vector<double> places;      // its values, rising
  std::vector<std::string> names;  // of the lines: "hyena", "attention, num_pairs 8"
  std::vector<SweepMetric> metrics;
};

/// Groups the runs. The x axis, if not given, is model.width if the runs differ in it, else the numeric setting with
/// the most values, of several the first in the recipe; run.*, eval.*, checkpoint.* and log.* are no axes. Lines, if
/// not given, are told apart by what differs between runs at the same place beyond the seed: the mixer if that does,
/// and then as few other settings, in the recipe's order, as it takes. A run's quality is that of its test, or its best
/// validation without one. Nothing where no setting qualifies or no line has two places, unless the reader asked for
/// it. Throws Error for keys asked for that cannot be used.
std::optional<Sweep> sweep(const std::vector<Run>& runs, const Axes& axes = {});

/// Mean against place, whiskers from the worst to the best run, for each metric. They refer to the sweep's series.
std::vector<Chart> sweep_charts(const Sweep& sweep);

/// A table of plain text: a row per line, a column per place, cells "98.20 % (97.10 to 99.30)", with the number of runs
/// where it is not the same in all.
struct SweepTable {
  std::string title;  // "Test accuracy, mean (lowest to highest) of 3 runs"
  std::vector<std::string> headings;
  std::vector<std::vector<std::string>> rows;
};
SweepTable sweep_table(const Sweep& sweep, const SweepMetric& metric);

/// All tables of a sweep for a terminal.
std::string sweep_text(const Sweep& sweep);

}  // namespace mara::report
