#pragma once

#include <string>
#include <vector>

#include "report/run_reader.h"
#include "report/sweep.h"

namespace mara::report {

/// One self-contained HTML file that shows a run, or compares several: curves, a summary, recipes (of several runs
/// the settings that differ), parameters, samples; of a sweep first its results against the number that was swept.
/// Below 2 MB for a run of any length.
std::string to_html(const std::vector<Run>& runs, const Axes& axes = {});

/// The results alone, for a terminal.
std::string to_text(const std::vector<Run>& runs, const Axes& axes = {});

}  // namespace mara::report
