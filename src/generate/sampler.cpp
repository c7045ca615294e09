#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "kernels/common/philox.h"

namespace mara::generate {

Sampler::Sampler(const SamplerOptions& options) : options_(options) {
  MARA_CHECK(options.temperature >= 0 && std::isfinite(options.temperature),
             "--temperature: a number of at least 0 is required, got ", options.temperature);
  MARA_CHECK(options.top_k >= 0, "--top-k: a number of tokens is required, or 0 for all, got ", options.top_k);
  MARA_CHECK(options.top_p > 0 && options.top_p <= 1, "--top-p: a probability above 0 and up to 1, which keeps all ",
             "tokens, is required, got ", options.top_p);
}

double Sampler::weight(double logit, double top) const { return std::exp((logit - top) / options_.temperature); }

int32_t Sampler::sample(std::span<const double> logits, int64_t row, int64_t position) const {
  const auto likelier = [&](int32_t a, int32_t b) {
    const double x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::vector<int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const double top = *std::max_element(logits.begin(), logits.end());
  if (!std::isfinite(top) || std::any_of(logits.begin(), logits.end(), [](double x) { return std::isnan(x); })) {
    throw Error("generating: the model's output is not finite; its weights are of no use, take another checkpoint");
  }
  if (options_.temperature == 0) return *std::min_element(tokens.begin(), tokens.end(), likelier);

  // Sorted only where something is left out: a draw from all of them may go through them in any order.
  const size_t kept = options_.top_k > 0 ? std::min(tokens.size(), static_cast<size_t>(options_.top_k)) : tokens.size();
  if (kept < tokens.size() || options_.top_p < 1) {
    std::partial_sort(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(kept), tokens.end(), likelier);
    tokens.resize(kept);
  }
  std::vector<double> sums;  // of the weights up to each token
  double sum = 0;
  for (const int32_t token : tokens) sums.push_back(sum += weight(logits[static_cast<size_t>(token)], top));
  const auto first_above = [&](double value) {
    return std::min(std::upper_bound(sums.begin(), sums.end(), value), sums.end() - 1) - sums.begin();
  };
  if (options_.top_p < 1) {
    const auto last = std::lower_bound(sums.begin(), sums.end(), options_.top_p * sum);
    sums.erase(std::min(last, sums.end() - 1) + 1, sums.end());
  }
  PhiloxSequence random(options_.seed, Purpose::sampling, static_cast<uint64_t>(position), static_cast<uint32_t>(row));
  return tokens[static_cast<size_t>(first_above(random.uniform_f64() * sums.back()))];
}

}  // namespace mara::generate
