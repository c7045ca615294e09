#include "tasks/normal.h"

#include <cmath>
#include <numbers>

namespace mara::tasks {

double normal(PhiloxSequence& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform_f64()));  // the argument is in (0, 1]
  return radius * std::cos(2 * std::numbers::pi * random.uniform_f64());
}

}  // namespace mara::tasks
