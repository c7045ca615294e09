#pragma once

#include <string>
#include <vector>

#include "report/run_reader.h"

namespace mara::report {

/// One self-contained HTML file that shows a run, or compares several: curves, a summary, recipes (of several runs
/// the settings that differ), parameters, samples. Below 2 MB for a run of any length.
std::string to_html(const std::vector<Run>& runs);

}  // namespace mara::report
