#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct InContextRecallConfig {
  int64_t vocab = 16;
  int64_t length = 128;
  bool multi_query = true;
  int64_t noise_vocab = 0;
  double noise_fraction = 0;
  void fields(config::Fields& f);
};

/// Name a key's value whenever the key comes again (MAD, arXiv 2403.17844):
///   k1 v1 k2 v2 k1 v1 k2   ->   v1 at the second k1, v2 at the second k2
/// With N = V - noise_vocab, K = floor(N/2), keys are ids 0..K-1, values ids K..N-1, noise ids N..V-1. Of the L/2 slots
/// of two tokens, L = length, each but the last holds a uniform key and its value, drawn uniformly where the key comes
/// first in the example (keys may share one), or, with probability noise_fraction, two uniform noise tokens; one slot,
/// drawn uniformly, is spared from noise. The last slot asks for a uniform one of the keys shown.
/// Noisy recall is published with vocab 32, noise_vocab 16, noise_fraction 0.2. Without multi_query there is one
/// question: "=>", id V-1 (N is one less), stands before the last key, and valid and test score its value alone.
///
/// L-1 tokens are read, L without multi_query: the last value is not. Training scores every next token, noise included,
/// valid and test the values of keys shown before. Chance level: 1 / (N-K).
class InContextRecall final : public Task {
 public:
  using Config = InContextRecallConfig;
  InContextRecall(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override {
    return ExampleForm::tokens(config_.vocab, config_.multi_query ? config_.length - 1 : config_.length);
  }
  int64_t distance(std::span<const int32_t> ids, int64_t position) const override;

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
};

}  // namespace mara::tasks
