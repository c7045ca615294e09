#include <cmath>

#include "config/fields.h"
#include "config/text.h"

namespace mara::config {

Check at_least(double low) {
  return {"at least " + number_text(low), [low](double x) { return x >= low; }, {}};
}

Check above(double low) {
  return {"above " + number_text(low), [low](double x) { return x > low; }, {}};
}

Check between(double low, double high) {
  return {"from " + number_text(low) + " to " + number_text(high),
          [low, high](double x) { return low <= x && x <= high; },
          {}};
}

Check odd_at_least(int64_t low) {
  return {"odd and at least " + std::to_string(low),
          [low](double x) { return x >= static_cast<double>(low) && std::fmod(x, 2) != 0; },
          {}};
}

Check one_of(std::vector<std::string> choices) { return {"one of " + join(choices), {}, std::move(choices)}; }

}  // namespace mara::config
