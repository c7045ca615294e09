#pragma once
// How the next token is chosen.

#include <cstdint>
#include <span>
#include <vector>

namespace mara::generate {

struct SamplerOptions {
  double temperature = 1;  // logits are divided by it; 0: always the likeliest token
  int64_t top_k = 0;       // only the k likeliest tokens; 0: all
  double top_p = 1;  // of these, the likeliest that together have at least this probability (Holtzman, 1904.09751)
  uint64_t seed = 1;
};

/// Draws tokens. What is drawn is a pure function of (seed, row, position, logits), whatever else is drawn.
class Sampler {
 public:
  /// Throws Error for options out of range.
  explicit Sampler(const SamplerOptions& options);

  /// `logits` of one position. Of equal logits the lower id counts as likelier. Throws Error if none is finite or
  /// one is NaN.
  int32_t sample(std::span<const double> logits, int64_t row, int64_t position) const;

 private:
  double weight(double logit, double top) const;  // proportional to the token's probability

  SamplerOptions options_;
};

}  // namespace mara::generate
