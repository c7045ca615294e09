#pragma once

#include <vector>

#include "report/run_reader.h"
#include "report/svg.h"

namespace mara::report {

/// The charts of one or several runs; those without any value are left out. They refer to the runs' series.
std::vector<Chart> curves(const std::vector<Run>& runs);

/// Steps that were left out because loss or gradient was not finite.
std::vector<double> skipped_steps(const Run& run);

}  // namespace mara::report
