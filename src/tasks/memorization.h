#pragma once

#include <vector>

#include "tasks/task.h"

namespace mara::tasks {

struct MemorizationConfig {
  int64_t vocab = 256;
  int64_t length = 32;
  void fields(config::Fields& f);
};

/// Know a fixed map by heart (MAD, arXiv 2403.17844): nothing in an example says what a key's value is.
///   k . k . k .   ->   the key's value at every "."
/// With K = floor((V-1)/2), keys are ids 0..K-1, values ids K..V-2, and the insert token "." is id V-1. The map gives
/// every key a value of its own; it is drawn once, from the seed alone. An example is L/2 uniform keys, each followed
/// by ".".
///
/// L = length tokens are read. In every split the ".", which stand at the places of the values, are scored, and nothing
/// is shifted. Splits are not kept apart: what is tested is the map that was trained on, so every key has to occur in
/// training. Chance level: 1 / (V-1-K), 1/128 for V = 256.
class Memorization final : public Task {
 public:
  using Config = MemorizationConfig;
  Memorization(const Config& config, uint64_t seed);

  ExampleForm form() const override { return ExampleForm::tokens(config_.vocab, config_.length); }
  bool splits_are_disjoint() const override { return false; }

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
  std::vector<int32_t> value_of_;  // of each key
};

}  // namespace mara::tasks
