#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct FuzzyRecallConfig {
  int64_t vocab = 16;
  int64_t length = 128;
  int64_t key_motif = 3;
  int64_t value_motif = 3;
  void fields(config::Fields& f);
};

/// In-context recall of keys and values of several tokens (MAD, arXiv 2403.17844), which the model must cut apart:
///   . . | k3 k1 | v2 | k5 | v1 v4 | k3 k1 | v2   ->   v2 at the last k1
/// The pad "." is id V-1. With N = V-1, K = floor(N/2), keys are motifs of ids 0..K-1 and values of ids K..N-1: a motif
/// of size s is s distinct ids in uniform order. Values have a uniform size of 1..value_motif; keys of 1..key_motif in
/// training, and always key_motif in valid and test.
///
/// A probe is drawn first, key and value, p tokens. With M = key_motif + value_motif, pairs of a uniform key and its
/// value (drawn where the key comes first) follow each other while there are less than L-p-M tokens, L = length. One of
/// them is the probe: the first that begins at or after a place drawn from [0, L-2p) but cut to L-p-2M, so that no pair
/// begun before it can leave too little room (the published L-p-M-1 can). The probe comes again at the end, and pads in
/// front fill up to L+1 tokens.
///
/// L tokens are read: the last is not. Training scores every next token, pads included, valid and test the values of
/// keys shown before. Chance level: 1 / (N-K) for a value's first token.
class FuzzyRecall final : public Task {
 public:
  using Config = FuzzyRecallConfig;
  FuzzyRecall(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override { return ExampleForm::tokens(config_.vocab, config_.length); }
  int64_t distance(std::span<const int32_t> ids, int64_t position) const override;

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  int32_t first_value() const { return static_cast<int32_t>((config_.vocab - 1) / 2); }

  Config config_;
};

}  // namespace mara::tasks
