#pragma once
// Breakdowns as text.

#include <string>

#include "eval/evaluate.h"

namespace mara::eval {

/// Count, accuracy and loss (of values squared error and that of the reference), a line for each group; "" of fewer
/// than two. More than ten are put together: positions in ranges of equal length, distances from each power of two to
/// the next.
std::string position_table(const Breakdown& breakdown);
std::string distance_table(const Breakdown& breakdown);

}  // namespace mara::eval
