#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct InContextFunctionsConfig {
  int64_t dimension = 5;
  int64_t pairs = 15;
  void fields(config::Fields& f);
};

/// Learn a linear function from examples of it (Garg et al., 2208.01066; Hyena, 2302.10866, whose setting is
/// reconstructed): each example draws w ~ N(0, I_p) and x_0 ... x_n ~ N(0, I_p), p = dimension, n = pairs, and shows
///   x_0  f(x_0)  x_1  f(x_1)  ...  x_n        with f(x) = w x / sqrt(p),
/// so that a squared error is normalised by p: answering 0 costs 1. A position holds p + 1 numbers, x and 0, or zeros
/// and f(x). L = 2n + 1 positions are read.
///
/// In every split f(x_i) is to be predicted at x_i, for all i. reference() is the least-squares solution of the i pairs
/// before, of least norm while these are fewer than p: its error at x_i is max(0, 1 - i / p) on average.
class InContextFunctions final : public Task {
 public:
  using Config = InContextFunctionsConfig;
  InContextFunctions(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override {
    const int64_t length = 2 * config_.pairs + 1;
    return {.length = length, .targets = length, .classes = 1, .features = config_.dimension + 1, .values = true};
  }
  void reference(const Row& row, std::span<float> estimates) const override;

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
};

}  // namespace mara::tasks
