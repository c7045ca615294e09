#include "tasks/majority.h"

#include <algorithm>
#include <vector>

#include "tasks/prompt.h"

namespace mara::tasks {

void MajorityConfig::fields(config::Fields& f) {
  f.field("symbols", symbols, "S, symbols of which one prevails", config::between(2, 1 << 24));
  f.field("length", length, "tokens before the question", config::between(1, 1 << 24));
  f.field("margin", margin, "times that the most frequent symbol occurs more often than any other, at least",
          config::at_least(1));
  f.require(margin <= length, "margin", detail::join({"must be at most length = ", length, ", got ", margin}));
}

void Majority::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  constexpr int kAttempts = 10'000;
  const std::span<int32_t> tokens = ids.first(ids.size() - 1);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    for (int32_t& token : tokens) token = static_cast<int32_t>(random.below(static_cast<uint32_t>(config_.symbols)));
    // Only symbols that occur are counted: there may be many more.
    std::vector<int32_t> sorted(tokens.begin(), tokens.end());
    std::sort(sorted.begin(), sorted.end());
    int64_t most = 0, second = 0;
    int32_t symbol = 0;
    for (auto begin = sorted.begin(), end = begin; begin != sorted.end(); begin = end) {
      end = std::upper_bound(begin, sorted.end(), *begin);
      const int64_t count = end - begin;
      if (count > most) symbol = *begin;
      second = std::max(second, std::min(count, most));
      most = std::max(most, count);
    }
    if (most - second < config_.margin) continue;
    ids.back() = static_cast<int32_t>(config_.symbols);
    next_token_targets(ids, symbol, 1, targets);
    return;
  }
  detail::throw_error({"majority: in none of ", kAttempts, " draws a symbol is ", config_.margin,
                       " ahead of all others; lower margin or symbols, or enlarge length"});
}

}  // namespace mara::tasks
