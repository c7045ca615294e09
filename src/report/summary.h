#pragma once

#include <string>
#include <vector>

#include "report/run_reader.h"

namespace mara::report {

/// How far one run came, as tiles.
std::string tiles(const Run& run);

/// Its last, best and test values as a table; empty without evaluations.
std::string evaluations(const Run& run);

/// A table with a row per run; only columns that some run has.
std::string comparison(const std::vector<Run>& runs);

/// The same, shorter, for a terminal: each run's results, see result_of.
std::string results_text(const std::vector<Run>& runs);

/// The settings in which the runs' recipes differ, a column per run; empty where they do not.
std::string differing_settings(const std::vector<Run>& runs);

/// What a reader must know about how complete a run's numbers are, one paragraph each.
std::string notes(const Run& run, bool with_name);

}  // namespace mara::report
