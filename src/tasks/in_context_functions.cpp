#include "tasks/in_context_functions.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/loss.h"
#include "tasks/normal.h"

namespace mara::tasks {
namespace {

using Vector = std::vector<double>;

double dot(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

}  // namespace

void InContextFunctionsConfig::fields(config::Fields& f) {
  f.field("dimension", dimension, "p, numbers that a function takes", config::between(1, 1024));
  f.field("pairs", pairs, "n, examples of the function before the last question", config::between(1, 1 << 20));
}

void InContextFunctions::draw(PhiloxSequence& random, Split, const Row& row) const {
  const size_t p = static_cast<size_t>(config_.dimension), width = p + 1;
  Vector w(p), x(p);
  for (double& value : w) value = normal(random) / std::sqrt(static_cast<double>(p));
  std::fill(row.inputs.begin(), row.inputs.end(), 0.0f);
  std::fill(row.targets.begin(), row.targets.end(), kernels::kIgnoredTarget);
  std::fill(row.values.begin(), row.values.end(), 0.0f);
  for (size_t t = 0; t < row.targets.size(); t += 2) {
    for (size_t i = 0; i < p; ++i) {
      x[i] = normal(random);
      row.inputs[t * width + i] = static_cast<float>(x[i]);
    }
    row.targets[t] = 0;
    row.values[t] = static_cast<float>(dot(w, x));
    if (t + 1 < row.targets.size()) row.inputs[(t + 1) * width + p] = row.values[t];
  }
}

// The pairs have no noise, so the solution of least norm is w seen on the space of the x so far: with an orthonormal
// basis q_k of it (Gram and Schmidt) and the known w q_k, the estimate is the sum of (x q_k) (w q_k).
void InContextFunctions::reference(const Row& row, std::span<float> estimates) const {
  const size_t p = static_cast<size_t>(config_.dimension), width = p + 1;
  std::vector<Vector> basis;
  Vector known;  // w q_k
  for (size_t t = 0; t < row.targets.size(); t += 2) {
    const auto begin = row.inputs.begin() + static_cast<ptrdiff_t>(t * width);
    Vector rest(begin, begin + static_cast<ptrdiff_t>(p));
    const double length = std::sqrt(dot(rest, rest));
    double estimate = 0;
    for (size_t k = 0; k < basis.size(); ++k) {
      const double along = dot(rest, basis[k]);
      estimate += along * known[k];
      for (size_t i = 0; i < p; ++i) rest[i] -= along * basis[k][i];
    }
    estimates[t] = static_cast<float>(estimate);
    const double size = std::sqrt(dot(rest, rest));
    if (basis.size() == p || size < 1e-6 * length) continue;
    for (double& value : rest) value /= size;
    basis.push_back(rest);
    known.push_back((row.values[t] - estimate) / size);
  }
}

}  // namespace mara::tasks
