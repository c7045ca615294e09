#include "tasks/associative_recall.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <vector>

namespace mara::tasks {
namespace {

int64_t key_tokens(int64_t vocab) { return (vocab - 2) / 2; }

}  // namespace

void AssociativeRecallConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V, keys, values and two special tokens", config::between(4, 1 << 24));
  f.field("length", length, "tokens of key-value pairs", config::between(2, 1 << 24));
  f.field("num_keys", num_keys, "m, tokens per key", config::at_least(1));
  f.field("allow_dot", allow_dot, "ask for absent keys too, whose answer is the no-op");
  f.field("dense_loss", dense_loss, "train on every next token, not on the answer alone");
  f.require(length > num_keys, "length",
            detail::join({"must hold a key and its value, num_keys + 1 = ", num_keys + 1, " tokens, got ", length}));
  const double bits = static_cast<double>(num_keys) * std::log2(static_cast<double>(key_tokens(vocab)));
  f.require(bits <= 62, "num_keys",
            detail::join({"must give at most 2^62 keys of ", key_tokens(vocab), " tokens, got num_keys = ", num_keys,
                          "; make it or vocab smaller"}));
}

void AssociativeRecall::draw(PhiloxSequence& random, Split split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const PromptVocabulary vocabulary{config_.vocab};
  const uint32_t keys = static_cast<uint32_t>(key_tokens(config_.vocab));
  const int32_t first_value = vocabulary.first_ordinary() + static_cast<int32_t>(keys);
  const uint32_t values = vocabulary.ordinary() - keys;

  size_t position = 0;
  // Appends a uniform key and returns its number among the K^m.
  const auto append_key = [&] {
    uint64_t number = 0;
    for (int64_t i = 0; i < config_.num_keys; ++i) {
      const uint32_t token = random.below(keys);
      number = number * keys + token;
      ids[position++] = vocabulary.first_ordinary() + static_cast<int32_t>(token);
    }
    return number;
  };

  // The map is drawn as far as it is used: a key gets its value where it occurs first.
  struct Occurrence {
    size_t position;  // of its first one
    int32_t value;
  };
  std::unordered_map<uint64_t, Occurrence> map;
  std::vector<uint64_t> present;  // in order of first occurrence
  for (int64_t pair = 0; pair < pairs(); ++pair) {
    const size_t start = position;
    const uint64_t key = append_key();
    const auto [entry, is_new] = map.try_emplace(key, Occurrence{start, 0});
    if (is_new) {
      entry->second.value = first_value + static_cast<int32_t>(random.below(values));
      present.push_back(key);
    }
    ids[position++] = entry->second.value;
  }

  ids[position++] = vocabulary.prefix();
  int32_t answer = vocabulary.no_op();
  if (config_.allow_dot) {
    const auto found = map.find(append_key());
    if (found != map.end()) answer = found->second.value;
  } else {
    const Occurrence& query = map.at(present[random.below(static_cast<uint32_t>(present.size()))]);
    for (int64_t i = 0; i < config_.num_keys; ++i) ids[position++] = ids[query.position + static_cast<size_t>(i)];
    answer = query.value;
  }
  const bool dense = config_.dense_loss && split == Split::train;
  next_token_targets(ids, answer, dense ? form().length : 1, targets);
}

int64_t AssociativeRecall::distance(std::span<const int32_t> ids, int64_t position) const {
  const int64_t m = config_.num_keys;
  const auto key_at = [&](int64_t first) { return ids.subspan(static_cast<size_t>(first), static_cast<size_t>(m)); };
  const std::span<const int32_t> query = key_at(position + 1 - m);
  for (int64_t first = (pairs() - 1) * (m + 1); first >= 0; first -= m + 1) {
    if (std::equal(query.begin(), query.end(), key_at(first).begin())) return position - (first + m - 1);
  }
  return 0;
}

}  // namespace mara::tasks
