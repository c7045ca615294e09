#pragma once
// Which parts of a gradient have been written.

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace mara {

/// A set of disjoint half-open ranges.
class Intervals {
 public:
  using Range = std::pair<int64_t, int64_t>;

  bool empty() const { return ranges_.empty(); }
  void clear() { ranges_.clear(); }

  void add(int64_t begin, int64_t end) {
    if (begin >= end) return;
    auto first = std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.second >= begin; });
    auto last = first;
    while (last != ranges_.end() && last->first <= end) {
      begin = std::min(begin, last->first);
      end = std::max(end, last->second);
      ++last;
    }
    ranges_.insert(ranges_.erase(first, last), {begin, end});
  }

  /// The parts of [begin, end) that are not in the set, in order.
  std::vector<Range> gaps(int64_t begin, int64_t end) const {
    std::vector<Range> out;
    for (const auto& [low, high] : ranges_) {
      if (high <= begin) continue;
      if (low >= end) break;
      if (low > begin) out.push_back({begin, low});
      begin = std::max(begin, high);
    }
    if (begin < end) out.push_back({begin, end});
    return out;
  }

 private:
  std::vector<Range> ranges_;  // sorted, neither overlapping nor touching
};

}  // namespace mara
