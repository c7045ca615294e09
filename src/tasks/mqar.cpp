#include "tasks/mqar.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/loss.h"
#include "tasks/distinct_ids.h"

namespace mara::tasks {

void MqarConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V; keys are the lower half of the ids, values the upper", config::between(4, 1 << 24));
  f.field("length", length, "L, tokens per example", config::between(4, 1 << 23));
  f.field("num_pairs", num_pairs, "n, key-value pairs and as many queries", config::at_least(1));
  f.field("power_a", power_a, "a, how late queries come: 0.01 most of them soon, 1 anywhere", config::above(0));
  f.field("random_non_queries", random_non_queries, "random tokens between the queries, not blanks");
  f.field("num_passes", num_passes, "times that the pairs are shown", config::between(1, 1 << 20));
  f.require(length % 2 == 0, "length", detail::join({"must be even, got ", length}));
  f.require(vocab > length, "vocab", detail::join({"must be above length = ", length, ", got ", vocab}));
  const int64_t most = length / (2 * (num_passes + 1));  // 2 n tokens per pass and a slot of two for every query
  f.require(num_pairs <= most, "num_pairs",
            detail::join({"must be at most length / (2 (num_passes + 1)) = ", most, ", got ", num_pairs}));
}

Mqar::Mqar(const Config& config, uint64_t seed) : Task(seed), config_(config) {
  const int64_t slots = config.length / 2 - config.num_pairs * config.num_passes;
  for (int64_t i = 1; i <= slots; ++i) {
    inverse_weight_.push_back(std::pow(static_cast<double>(i), 1 - config.power_a));
  }
}

void Mqar::draw(PhiloxSequence& random, Split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const int32_t half = static_cast<int32_t>(config_.vocab / 2), vocab = static_cast<int32_t>(config_.vocab);
  const size_t pairs = static_cast<size_t>(config_.num_pairs);
  const std::vector<int32_t> keys = distinct_ids(random, config_.num_pairs, 1, half);
  const std::vector<int32_t> values = distinct_ids(random, config_.num_pairs, half, vocab);

  const size_t context = 2 * pairs * static_cast<size_t>(config_.num_passes);
  for (size_t t = 0; t < context; ++t) ids[t] = (t % 2 == 0 ? keys : values)[t / 2 % pairs];
  for (size_t t = context; t < ids.size(); ++t) {
    ids[t] = config_.random_non_queries ? static_cast<int32_t>(random.below(static_cast<uint32_t>(vocab))) : 0;
  }
  std::fill(targets.begin(), targets.end(), kernels::kIgnoredTarget);

  // Weighted sampling without replacement (Efraimidis and Spirakis, 2006): with exponential times of rate w_i, the
  // slots in the order of their times are the order in which one would draw them.
  std::vector<double> time;
  for (const double inverse : inverse_weight_) {
    time.push_back(-std::log((static_cast<double>(random.bits()) + 0.5) * 0x1p-32) * inverse);
  }
  std::vector<size_t> slot(time.size());
  std::iota(slot.begin(), slot.end(), size_t{0});
  std::partial_sort(slot.begin(), slot.begin() + static_cast<std::ptrdiff_t>(pairs), slot.end(),
                    [&](size_t a, size_t b) { return time[a] < time[b] || (time[a] == time[b] && a < b); });
  for (size_t j = 0; j < pairs; ++j) {
    ids[context + 2 * slot[j]] = keys[j];
    targets[context + 2 * slot[j]] = values[j];
  }
}

int64_t Mqar::distance(std::span<const int32_t> ids, int64_t position) const {
  for (int64_t key = 2 * (config_.num_pairs * config_.num_passes - 1); key >= 0; key -= 2) {
    if (ids[static_cast<size_t>(key)] == ids[static_cast<size_t>(position)]) return position - key;
  }
  return 0;
}

}  // namespace mara::tasks
