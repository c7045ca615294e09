#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct ArithmeticConfig {
  int64_t digits = 2;
  bool separator = true;
  void fields(config::Fields& f);
};

/// Add two numbers of D = digits digits (reconstructed from the example in Hyena, arXiv 2302.10866):
///   1 3 5 + 6 8 3 =   ->   0 8 1 8
/// Numbers have their leading zeros and begin with the most significant digit, the sum has D + 1 digits, so that every
/// carry has its place. Ids: digits 0..9, "+" 10 (left out without `separator`), "=" 11; 12 is a pad that no example
/// needs. Digits are uniform; splits part the pairs of operands, 10^(2D) in all.
///
/// L = 3 D + 2 tokens are read (3 D + 1 without "+"): the sum's last digit is not. In every split the D + 1 digits of
/// the sum are scored, each given those before it. Chance level: 1/2 for the carry that comes first, 1/10 for the rest.
class Arithmetic final : public Task {
 public:
  using Config = ArithmeticConfig;
  Arithmetic(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override {
    return ExampleForm::tokens(13, 3 * config_.digits + 1 + (config_.separator ? 1 : 0));
  }

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
};

}  // namespace mara::tasks
