#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct MajorityConfig {
  int64_t symbols = 10;
  int64_t length = 32;
  int64_t margin = 1;
  void fields(config::Fields& f);
};

/// Name the most frequent symbol (reconstructed from the example in Hyena, arXiv 2302.10866):
///   a g g g e f g ?   ->   g
/// `length` tokens are uniform over the S symbols 0..S-1, drawn again until one symbol occurs at least `margin` times
/// more often than every other; with 1 it is merely unique. The question is id S.
///
/// L = length + 1 tokens are read. In every split only the answer after the last is scored.
/// Chance level: 1 / S.
class Majority final : public Task {
 public:
  using Config = MajorityConfig;
  Majority(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override { return ExampleForm::tokens(config_.symbols + 1, config_.length + 1); }

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
};

}  // namespace mara::tasks
