#pragma once

#include <string>
#include <vector>

namespace mara::report {

/// Rows of a terminal, columns aligned: the first to the left, the others to the right.
std::string text_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows);

}  // namespace mara::report
