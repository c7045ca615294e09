#pragma once

#include "nn/state_space.h"

namespace mara::nn {

struct DplrSsmOptions : SsmOptions {
  int64_t period = 0;  // at rate 1; for 0 fields() puts what reaches over the longest sequence

  void fields(config::Fields& f, int64_t channels, int64_t max_length);
};

/// Diagonal plus low rank systems (S4, 2111.00396), from HiPPO-LegS, bilinear. What is learned in place of C is
/// C (I - Abar^T) of the period T, a power of two, which therefore belongs to the weights; filters reach up to T. The
/// initial values hold a C of complex normal numbers to that. Filters per channel, hints and systems as in DiagonalSsm.
/// A rate, a power of two, divides the period.
class DplrSsm : public StateSpace {
 public:
  DplrSsm(const DplrSsmOptions& options, int64_t channels, int64_t max_length, int64_t filters = 1);
  Tensor filter(int64_t length) const override;
  int64_t longest() const override { return period_; }
  /// Gets C back from a dense system of N equations per channel, O(H N^3 log T) work.
  DiscreteSystem discrete() const override;

 private:
  ops::SsmParameters parameters() const;

  DplrSsmOptions options_;
  int64_t period_;
  Parameter *log_dt_, *log_decay_, *frequency_, *b_, *p_, *c_;
};

}  // namespace mara::nn
