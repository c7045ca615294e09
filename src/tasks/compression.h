#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct CompressionConfig {
  int64_t vocab = 16;
  int64_t length = 32;
  void fields(config::Fields& f);
};

/// Keep a whole sequence in one vector (MAD, 2403.17844): L - 1 uniform tokens of 0..V-2, then the compression token
/// V-1; the target at every position is the token that stands there. It means something for a model that sees the
/// sequence through its last position only: model.kind autoencoder.
///
/// Every position is scored in every split. Chance level: 1 / (V-1), and the last position, which never changes.
class Compression final : public Task {
 public:
  using Config = CompressionConfig;
  Compression(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override { return ExampleForm::tokens(config_.vocab, config_.length); }

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
};

}  // namespace mara::tasks
