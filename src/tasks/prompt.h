#pragma once
// What tasks share that end in their answers: the token ids of two of them, and which positions are scored.

#include <cstdint>
#include <span>

namespace mara::tasks {

/// The ids of associative_recall and induction_heads, a vocabulary of V tokens: 0 is the no-op ".", 1 to V-2 are
/// ordinary tokens, V-1 is the copy prefix "=>". The published generators sort token texts ("0", "1", "10", "11", ...)
/// to get ids; ordinary tokens are interchangeable, so that order matters only when exchanging examples with them.
struct PromptVocabulary {
  int64_t size;

  int32_t no_op() const { return 0; }
  int32_t first_ordinary() const { return 1; }
  uint32_t ordinary() const { return static_cast<uint32_t>(size - 2); }
  int32_t prefix() const { return static_cast<int32_t>(size - 1); }
};

/// targets[t] is the token after ids[t], `last` after the end; of them the final `scored` count.
void next_token_targets(std::span<const int32_t> ids, int32_t last, int64_t scored, std::span<int32_t> targets);

}  // namespace mara::tasks
