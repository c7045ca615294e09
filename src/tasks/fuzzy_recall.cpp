#include "tasks/fuzzy_recall.h"

#include <algorithm>
#include <map>
#include <vector>

#include "kernels/loss.h"
#include "tasks/distinct_ids.h"

namespace mara::tasks {
namespace {

using Motif = std::vector<int32_t>;

int64_t size_up_to(PhiloxSequence& random, int64_t most) {
  return 1 + static_cast<int64_t>(random.below(static_cast<uint32_t>(most)));
}

}  // namespace

void FuzzyRecallConfig::fields(config::Fields& f) {
  f.field("vocab", vocab, "V, ids of keys, ids of values and the pad", config::between(3, 1 << 24));
  f.field("length", length, "L, tokens per example", config::between(6, 1 << 24));
  f.field("key_motif", key_motif, "tokens of a key, at most", config::between(1, 1 << 20));
  f.field("value_motif", value_motif, "tokens of a value, at most", config::between(1, 1 << 20));
  const int64_t keys = (vocab - 1) / 2, values = vocab - 1 - keys;
  f.require(key_motif <= keys, "key_motif",
            detail::join({"must be at most the (vocab - 1) / 2 = ", keys, " different ids of keys, got ", key_motif,
                          "; enlarge vocab"}));
  f.require(value_motif <= values, "value_motif",
            detail::join({"must be at most the vocab / 2 = ", values, " different ids of values, got ", value_motif,
                          "; enlarge vocab"}));
  const int64_t least = 3 * (key_motif + value_motif);
  f.require(length >= least, "length",
            detail::join({"must be at least 3 (key_motif + value_motif) = ", least, ", got ", length}));
}

void FuzzyRecall::draw(PhiloxSequence& random, Split split, const Row& row) const {
  const std::span<int32_t> ids = row.ids, targets = row.targets;
  const int32_t pad = static_cast<int32_t>(config_.vocab - 1);
  const auto draw_key = [&] {
    const int64_t size = split == Split::train ? size_up_to(random, config_.key_motif) : config_.key_motif;
    return distinct_ids(random, size, 0, first_value());
  };
  const auto draw_value = [&] {
    return distinct_ids(random, size_up_to(random, config_.value_motif), first_value(), pad);
  };

  struct Value {
    Motif tokens;
    bool shown = false;
  };
  std::map<Motif, Value> map;
  const Motif probe = draw_key();
  map[probe] = {draw_value()};

  struct Token {
    int32_t id;
    bool is_answer = false;  // a value's, of a key shown before
  };
  std::vector<Token> tokens;
  const auto append = [&](const Motif& key) {
    const auto [entry, is_new] = map.try_emplace(key);
    Value& value = entry->second;
    if (is_new) value.tokens = draw_value();
    for (const int32_t id : key) tokens.push_back({id});
    for (const int32_t id : value.tokens) tokens.push_back({id, value.shown});
    value.shown = true;
  };
  const size_t length = ids.size(), pair = probe.size() + map[probe].tokens.size();
  const size_t most = static_cast<size_t>(config_.key_motif + config_.value_motif);
  const size_t place =
      std::min<size_t>(random.below(static_cast<uint32_t>(length - 2 * pair)), length - pair - 2 * most);
  bool inserted = false;
  while (tokens.size() < length - pair - most) {
    const bool insert = !inserted && tokens.size() >= place;
    inserted |= insert;
    append(insert ? probe : draw_key());
  }
  append(probe);
  tokens.insert(tokens.begin(), length + 1 - tokens.size(), {pad});

  for (size_t t = 0; t < length; ++t) {
    const Token& next = tokens[t + 1];
    ids[t] = tokens[t].id;
    targets[t] = split == Split::train || next.is_answer ? next.id : kernels::kIgnoredTarget;
  }
}

// The key is its motif and what has been named of its value since, so all of a value is equally far.
int64_t FuzzyRecall::distance(std::span<const int32_t> ids, int64_t position) const {
  const auto is_key = [&](size_t t) { return t < ids.size() && ids[t] < first_value(); };
  const auto begins = [&](size_t t) { return is_key(t) && (t == 0 || !is_key(t - 1)); };
  const auto key_at = [&](size_t first) {
    size_t end = first;
    while (is_key(end)) ++end;
    return ids.subspan(first, end - first);
  };
  size_t asked = static_cast<size_t>(position);
  while (!begins(asked)) --asked;
  const std::span<const int32_t> key = key_at(asked);
  for (size_t first = asked; first-- > 0;) {
    if (begins(first) && std::ranges::equal(key_at(first), key)) return static_cast<int64_t>(asked - first);
  }
  return 0;
}

}  // namespace mara::tasks
