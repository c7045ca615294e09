#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct CopyConfig {
  int64_t vocab = 16;
  int64_t length = 16;
  void fields(config::Fields& f);
};

/// Repeat everything: n = length uniform tokens, ids 0..V-2, then the separator, id V-1, then the same n tokens.
///   a b a c |   ->   a b a c
/// The simplest measure of how much a state holds.
///
/// L = 2 n tokens are read, the copy's last token is not. In every split the n tokens of the copy are scored, each
/// given those before it. Chance level: 1 / (V-1).
class Copy final : public Task {
 public:
  using Config = CopyConfig;
  Copy(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override { return ExampleForm::tokens(config_.vocab, 2 * config_.length); }
  int64_t distance(std::span<const int32_t>, int64_t) const override { return config_.length; }

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
};

}  // namespace mara::tasks
