#pragma once

#include <optional>

#include "bench/standard.h"
#include "bench/timing.h"
#include "train/recipe.h"

namespace mara::bench {

/// A recipe's training step as a whole.
struct StepTimes {
  double seconds = 0;            // median, from the end of one step to the end of the next
  double tokens_per_second = 0;  // input tokens
  int64_t parameters = 0;        // trainable, P
  double flops_per_token = 0;    // products, attention and convolutions, as `mara describe` counts them
  int64_t memory = 0;            // bytes: weights, gradients, optimiser state, and the step's tensors at their peak

  /// flop/s by the usual 6 P per token, and as counted.
  double by_parameters() const { return 6 * static_cast<double>(parameters) * tokens_per_second; }
  double as_counted() const { return flops_per_token * tokens_per_second; }
};

struct Report {
  std::string device;
  Ceilings ceilings;
  std::optional<StepTimes> step;
  std::vector<Timed> calls;  // of a step: each one alone, by its share of the step
};

/// Every call once.
Report bench(const Calls& calls, Device device, const Ceilings& ceilings, double effort);

/// A few steps to warm up, then the median; after them each of the step's calls alone.
Report bench_step(const train::Recipe& recipe, Device device, const Ceilings& ceilings, double effort);

std::string to_text(const Report& report);
/// Plain units: seconds, bytes, flop. Fractions are of the ceilings.
std::string to_json(const Report& report);

}  // namespace mara::bench
