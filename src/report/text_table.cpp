#include "report/text_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace mara::report {

std::string text_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (size_t i = 0; i < headings.size(); ++i) {
    widths.push_back(headings[i].size());
    for (const std::vector<std::string>& row : rows) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  const auto add = [&](const std::vector<std::string>& cells) {
    std::string line = fmt::format("{:<{}}", cells[0], widths[0]);
    for (size_t i = 1; i < cells.size(); ++i) line += fmt::format("  {:>{}}", cells[i], widths[i]);
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  add(headings);
  for (const std::vector<std::string>& row : rows) add(row);
  return out;
}

}  // namespace mara::report
