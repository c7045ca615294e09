#include "tasks/counting.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "tasks/prompt.h"

namespace mara::tasks {
namespace {

constexpr double kMostOfOneCount = 0.24;

/// P(c) of the counts c = 1..L: the last token and those of the L-1 others that are the same, 1 + Binomial(L-1, 1/S).
std::vector<double> count_probabilities(double symbols, double length) {
  std::vector<double> p;
  for (double c = 1; c <= length; ++c) {
    const double ways = std::lgamma(length) - std::lgamma(c) - std::lgamma(length - c + 1);
    p.push_back(std::exp(ways - (length - 1) * std::log(symbols) + (length - c) * std::log(symbols - 1)));
  }
  return p;
}

/// The largest weight t for which no min(P(c), t) is more than the share s of their sum. With the k largest cut to t
/// and a sum r of the rest, t = s (k t + r).
double limit(std::vector<double> p) {
  std::sort(p.begin(), p.end(), std::greater<>());
  for (size_t k = 0;; ++k) {
    const double rest = std::accumulate(p.begin() + static_cast<std::ptrdiff_t>(k), p.end(), 0.0);
    const double t = kMostOfOneCount * rest / (1 - kMostOfOneCount * static_cast<double>(k));
    if (p[k] <= t) return t;
  }
}

}  // namespace

void CountingConfig::fields(config::Fields& f) {
  f.field("symbols", symbols, "S, symbols to count", config::between(2, 1 << 20));
  f.field("length", length, "L, tokens per example, the last one says what to count", config::between(5, 1 << 20));
}

Counting::Counting(const Config& config, uint64_t seed) : Task(seed), config_(config) {
  const std::vector<double> p =
      count_probabilities(static_cast<double>(config.symbols), static_cast<double>(config.length));
  const double most = limit(p);
  double sum = 0;
  for (const double probability : p) cumulative_.push_back(sum += std::min(probability, most));
}

// Drawing the count first and then an example that has it costs no rejections and gives the same distribution.
void Counting::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const double u = random.uniform_f64() * cumulative_.back();
  const auto count = std::upper_bound(cumulative_.begin(), cumulative_.end() - 1, u) - cumulative_.begin() + 1;

  const uint32_t symbols = static_cast<uint32_t>(config_.symbols);
  const int32_t counted = static_cast<int32_t>(random.below(symbols));
  ids.back() = counted;
  // Of the places still to fill, every one is as likely among those that get the symbol.
  uint32_t wanted = static_cast<uint32_t>(count) - 1, left = static_cast<uint32_t>(ids.size()) - 1;
  for (int32_t& token : ids.first(ids.size() - 1)) {
    if (random.below(left--) < wanted) {
      token = counted;
      --wanted;
    } else {
      const int32_t other = static_cast<int32_t>(random.below(symbols - 1));
      token = other + (other >= counted);
    }
  }
  next_token_targets(ids, static_cast<int32_t>(config_.symbols + count), 1, targets);
}

}  // namespace mara::tasks
