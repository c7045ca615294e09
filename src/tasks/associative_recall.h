#pragma once

#include "tasks/prompt.h"
#include "tasks/task.h"

namespace mara::tasks {

struct AssociativeRecallConfig {
  int64_t vocab = 20;
  int64_t length = 40;
  int64_t num_keys = 1;
  bool allow_dot = false;
  bool dense_loss = true;
  void fields(config::Fields& f);
};

/// Look a key up in a list of key-value pairs (H3, arXiv 2212.14052; Hyena, arXiv 2302.10866):
///   k v k v ... k v => q   ->   the value of q
/// A key is m = num_keys tokens. With K = floor((V-2)/2), keys are made of ids 1..K and values are ids K+1..V-2 (ids:
/// prompt.h). Every example draws its own map from the K^m keys to values, uniformly and with replacement, then
/// floor(length/(m+1)) keys, uniformly and with replacement, each followed by its value, so that a repeated key repeats
/// its value. The query is uniform over the keys that occur; with allow_dot over all keys, and an absent one's answer
/// is the no-op ".".
///
/// L = (m+1) floor(length/(m+1)) + 1 + m tokens are read. Training scores every next token (dense_loss, the published
/// setting: each repeated key is a training signal), valid and test the answer after the last token.
/// Chance level: 1 / (V-2-K), 1/4 for V = 10 and 1/9 for V = 20.
class AssociativeRecall final : public Task {
 public:
  using Config = AssociativeRecallConfig;
  AssociativeRecall(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override {
    return ExampleForm::tokens(config_.vocab, pairs() * (config_.num_keys + 1) + 1 + config_.num_keys);
  }
  int64_t distance(std::span<const int32_t> ids, int64_t position) const override;

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  int64_t pairs() const { return config_.length / (config_.num_keys + 1); }

  Config config_;
};

}  // namespace mara::tasks
