#pragma once

#include <vector>

#include "tasks/task.h"

namespace mara::tasks {

struct MqarConfig {
  int64_t vocab = 8192;
  int64_t length = 64;
  int64_t num_pairs = 4;
  double power_a = 0.01;
  bool random_non_queries = true;
  int64_t num_passes = 1;
  void fields(config::Fields& f);
};

/// Multi-query associative recall (Zoology, arXiv 2312.04927): look up every one of n = num_pairs keys later in the
/// sequence.
///   k1 v1 k2 v2 ... kn vn | . . k2 . k1 . . . kn .   ->   v2 at k2, v1 at k1, vn at kn
/// With H = floor(V/2), id 0 is the blank, keys are n distinct ids of 1..H-1, values n distinct ids of H..V-1. The
/// context holds the pairs num_passes times, C = 2 n num_passes tokens. The rest is S = (L-C)/2 slots of two tokens;
/// the keys get distinct slots, drawn one after the other with weights w_i ~ i^(a-1), i = 1..S: for a = 0.01 nearly
/// 1/i, so that most queries come soon; for a = 1 uniform. Key j stands at C + 2 g_j, its value nowhere; the other
/// tokens of the query area are uniform ids of [0, V), or blank without random_non_queries.
///
/// L = length tokens are read. In every split only the n query positions are scored.
/// Chance level: 1 / (V-H); 1/n for a model that knows the values of the context but not whose they are.
class Mqar final : public Task {
 public:
  using Config = MqarConfig;
  Mqar(const Config& config, uint64_t seed);

  ExampleForm form() const override { return ExampleForm::tokens(config_.vocab, config_.length); }
  int64_t distance(std::span<const int32_t> ids, int64_t position) const override;

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  Config config_;
  std::vector<double> inverse_weight_;  // i^(1-a) of the slots i = 1..S
};

}  // namespace mara::tasks
