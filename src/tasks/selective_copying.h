#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct SelectiveCopyingConfig {
  int64_t vocab = 16;
  int64_t length = 256;
  int64_t num_tokens = 16;
  void fields(config::Fields& f);
};

/// Remember the tokens among blanks (MAD, arXiv 2403.17844; with length 4096 and 2 more ids as in Mamba, arXiv
/// 2312.00752):
///   . a . . b b => . . .   ->   a b b at the last three
/// k = num_tokens content tokens, ids 0..V-3, are uniform. Each of L-2k-1 blanks, id V-2, goes in front of one of them,
/// uniformly, so none follows the last. Then come "=>", id V-1, and k blanks.
///
/// L = length tokens are read. In every split the last k, the blanks that stand at the places of the answers, are
/// scored; nothing is shifted. Chance level: 1 / (V-2).
class SelectiveCopying final : public Task {
 public:
  using Config = SelectiveCopyingConfig;
  SelectiveCopying(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override { return ExampleForm::tokens(config_.vocab, config_.length); }
  int64_t distance(std::span<const int32_t> ids, int64_t position) const override;

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  int32_t blank() const { return static_cast<int32_t>(config_.vocab - 2); }

  Config config_;
};

}  // namespace mara::tasks
