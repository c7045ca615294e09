#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mara::optim {

void ScheduleConfig::fields(config::Fields& f) {
  f.field("kind", kind, "learning rate after the warm-up",
          config::one_of({"constant", "linear", "cosine", "timm_cosine", "wsd"}));
  f.field("warmup", warmup, "steps of linear warm-up", config::at_least(0));
  f.field("floor", floor, "what the learning rate falls to, as a fraction of optim.lr", config::between(0, 1));
  f.field("decay", decay, "wsd: fraction of the steps that decay", config::between(0, 1));
  f.field("start", start, "timm_cosine: where the warm-up begins, as a fraction of optim.lr", config::between(0, 1));
}

double schedule_factor(const ScheduleConfig& schedule, int64_t step, int64_t steps) {
  const bool timm = schedule.kind == "timm_cosine";
  const double warm = static_cast<double>(schedule.warmup), span = 1 - schedule.floor;
  if (step < schedule.warmup) {
    const double done = static_cast<double>(timm ? step : step + 1) / warm;
    return timm ? schedule.start + (1 - schedule.start) * done : done;
  }
  // Fraction of the way from `first` to the end of the run.
  const auto fraction = [&](double first) {
    const double length = std::max(1.0, static_cast<double>(steps) - first);
    return std::clamp((static_cast<double>(step) - first) / length, 0.0, 1.0);
  };
  if (schedule.kind == "linear") return 1 - span * fraction(warm);
  if (schedule.kind == "cosine" || timm) {
    return schedule.floor + span * (1 + std::cos(std::numbers::pi * fraction(timm ? 0 : warm))) / 2;
  }
  if (schedule.kind == "wsd") {
    const double first = std::max(warm, static_cast<double>(steps) * (1 - schedule.decay));
    return 1 - span * fraction(first);
  }
  return 1;
}

}  // namespace mara::optim
