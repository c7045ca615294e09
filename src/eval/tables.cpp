#include "eval/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "core/format.h"

namespace mara::eval {
namespace {

constexpr size_t kMostGroups = 10;
constexpr int64_t kRanges = 8;

/// First and last of a range.
using Range = std::pair<int64_t, int64_t>;

template <class RangeOf>
std::string table(const char* heading, const Groups& groups, bool values, const RangeOf& range_of) {
  if (groups.size() < 2) return "";
  std::map<Range, Group> rows;
  for (const auto& [key, group] : groups) {
    rows[groups.size() > kMostGroups ? range_of(key) : Range{key, key}].add(group);
  }
  std::string out = fmt::format("{:<12}{:>12}{:>12}{:>10}\n", heading, "scored", values ? "error" : "accuracy",
                                values ? "possible" : "loss");
  for (const auto& [range, group] : rows) {
    const std::string name = range.first == range.second ? with_commas(range.first)
                                                         : with_commas(range.first) + "-" + with_commas(range.second);
    out += fmt::format("{:<12}{:>12}", name, with_commas(group.scored));
    out += values ? fmt::format("{:>12.4f}{:>10.4f}\n", group.loss(), group.reference())
                  : fmt::format("{:>10.2f} %{:>10.4f}\n", 100 * group.accuracy(), group.loss());
  }
  return out;
}

}  // namespace

std::string position_table(const Breakdown& breakdown) {
  const Groups& groups = breakdown.by_position;
  if (groups.empty()) return "";
  const int64_t first = groups.begin()->first, last = groups.rbegin()->first;
  const int64_t width = (last - first) / kRanges + 1;
  return table("position", groups, breakdown.values, [&](int64_t position) {
    const int64_t begin = first + (position - first) / width * width;
    return Range{begin, std::min(begin + width - 1, last)};
  });
}

std::string distance_table(const Breakdown& breakdown) {
  return table("distance", breakdown.by_distance, false, [](int64_t distance) {
    const auto begin = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(distance)));
    return Range{begin, std::max<int64_t>(begin, 2 * begin - 1)};
  });
}

}  // namespace mara::eval
