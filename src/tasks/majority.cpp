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
    std::vector<int64_t> count(static_cast<size_t>(config_.symbols));
    for (int32_t& token : tokens) {
      token = static_cast<int32_t>(random.below(static_cast<uint32_t>(config_.symbols)));
      ++count[static_cast<size_t>(token)];
    }
    const auto most = std::max_element(count.begin(), count.end());
    const int32_t symbol = static_cast<int32_t>(most - count.begin());
    const auto comes_close = [&](int64_t n) { return n > *most - config_.margin; };
    if (std::count_if(count.begin(), count.end(), comes_close) > 1) continue;
    ids.back() = static_cast<int32_t>(config_.symbols);
    next_token_targets(ids, symbol, 1, targets);
    return;
  }
  detail::throw_error({"majority: in none of ", kAttempts, " draws a symbol is ", config_.margin,
                       " ahead of all others; lower margin or symbols, or enlarge length"});
}

}  // namespace mara::tasks
