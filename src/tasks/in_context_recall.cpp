#include "tasks/in_context_recall.h"

#include <algorithm>
#include <vector>

#include "kernels/loss.h"
#include "tasks/prompt.h"

namespace mara::tasks {
namespace {

/// N, ids that are keys or values.
int64_t pair_ids(const InContextRecallConfig& config) {
  return config.vocab - config.noise_vocab - (config.multi_query ? 0 : 1);
}

}  // namespace

void InContextRecallConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V, keys, values and noise", config::between(2, 1 << 24));
  f.field("length", length, "L, tokens of key-value pairs and noise", config::between(4, 1 << 24));
  f.field("multi_query", multi_query, "every repeated key is a question, not the last one alone");
  f.field("noise_vocab", noise_vocab, "ids that are noise", config::at_least(0));
  f.field("noise_fraction", noise_fraction, "pairs that noise replaces", config::between(0, 1));
  f.require(length % 2 == 0, "length", detail::join({"must be even, got ", length}));
  const int64_t least = noise_vocab + (multi_query ? 2 : 3);
  f.require(vocab >= least, "vocab",
            detail::join({"must hold a key, a value", multi_query ? "" : ", the copy token",
                          " and noise_vocab = ", noise_vocab, " ids, ", least, " in all, got ", vocab}));
  f.require(noise_fraction == 0 || noise_vocab > 0, "noise_fraction",
            detail::join({"needs ids for the noise, got ", noise_fraction, " with noise_vocab = 0; give noise_vocab"}));
}

void InContextRecall::draw(PhiloxSequence& random, Split split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  constexpr int32_t kUnknown = -1;
  const int32_t first_noise = static_cast<int32_t>(pair_ids(config_)), first_value = first_noise / 2;
  const size_t slots = static_cast<size_t>(config_.length / 2);
  const size_t spared = random.below(static_cast<uint32_t>(slots - 1));
  std::vector<int32_t> value_of(static_cast<size_t>(first_value), kUnknown);
  std::vector<uint32_t> shown;  // keys, in order of first occurrence
  std::fill(targets.begin(), targets.end(), kernels::kIgnoredTarget);

  for (size_t slot = 0; slot + 1 < slots; ++slot) {
    int32_t* const pair = &ids[2 * slot];
    if (slot != spared && random.uniform_f64() < config_.noise_fraction) {
      for (size_t i = 0; i < 2; ++i) {
        pair[i] = first_noise + static_cast<int32_t>(random.below(static_cast<uint32_t>(config_.noise_vocab)));
      }
      continue;
    }
    const uint32_t key = random.below(static_cast<uint32_t>(first_value));
    int32_t& value = value_of[key];
    if (value == kUnknown) {
      value = first_value + static_cast<int32_t>(random.below(static_cast<uint32_t>(first_noise - first_value)));
      shown.push_back(key);
    } else if (config_.multi_query) {
      targets[2 * slot] = value;
    }
    pair[0] = static_cast<int32_t>(key);
    pair[1] = value;
  }
  if (!config_.multi_query) ids[ids.size() - 2] = static_cast<int32_t>(config_.vocab - 1);
  const uint32_t asked = shown[random.below(static_cast<uint32_t>(shown.size()))];
  ids.back() = static_cast<int32_t>(asked);
  targets.back() = value_of[asked];
  if (split == Split::train) next_token_targets(ids, value_of[asked], form().length, targets);
}

int64_t InContextRecall::distance(std::span<const int32_t> ids, int64_t position) const {
  int64_t key = position - 1;  // a scored key has come before
  while (ids[static_cast<size_t>(key)] != ids[static_cast<size_t>(position)]) --key;
  return position - key;
}

}  // namespace mara::tasks
