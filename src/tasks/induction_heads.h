#pragma once

#include "tasks/prompt.h"
#include "tasks/task.h"

namespace mara::tasks {

struct InductionHeadsConfig {
  int64_t vocab = 20;
  int64_t length = 30;
  int64_t copy_length = 1;
  int64_t num_triggers = 1;
  bool dense_loss = true;
  void fields(config::Fields& f);
};

/// Copy what followed the copy prefix the first time (H3, arXiv 2212.14052; ids: prompt.h):
///   x x x => a x x x x =>   ->   a
/// `length` ordinary tokens are uniform. num_triggers positions (half of the examples: one) are uniform in
/// [0, length - 1 - c) with c = copy_length; in rising order those at most c after the one kept before are dropped.
/// The c tokens after the first kept position are the text; every kept position becomes "=>" followed by the text.
///
/// L = length + c tokens are read: those, the final "=>", and all of the text but its last token. Training scores every
/// next token (dense_loss; the filler costs ln(V-2) nats whatever is learned), valid and test the c tokens of the text.
/// Chance level: 1 / (V-2).
class InductionHeads final : public Task {
 public:
  using Config = InductionHeadsConfig;
  InductionHeads(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override { return ExampleForm::tokens(config_.vocab, config_.length + config_.copy_length); }
  int64_t distance(std::span<const int32_t> ids, int64_t position) const override;

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
};

}  // namespace mara::tasks
