#pragma once

#include <vector>

#include "tasks/task.h"

namespace mara::tasks {

struct CountingConfig {
  int64_t symbols = 4;
  int64_t length = 16;
  void fields(config::Fields& f);
};

/// Count how often the last symbol has occurred, itself included (reconstructed from the example in Hyena,
/// arXiv 2302.10866):
///   a b b b a c b   ->   4
/// L = length tokens are uniform over the S symbols 0..S-1; a count c is answered by id S + c, a block of L + 1 ids. A
/// count that would make up more than 24 % of the examples (all of few symbols or of a short length have some) is
/// thinned out to that share, as if such examples were rejected at random, so that no guess gets far.
///
/// In every split only the answer after the last token is scored. Chance level: the most frequent count's share,
/// 22.5 % for S = 4, L = 16.
class Counting final : public Task {
 public:
  using Config = CountingConfig;
  Counting(const Config& config, uint64_t seed);

  ExampleForm form() const override {
    return ExampleForm::tokens(config_.symbols + config_.length + 1, config_.length);
  }

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
  std::vector<double> cumulative_;  // [i]: weight of the counts 1..i+1
};

}  // namespace mara::tasks
