#pragma once

#include <cstdint>
#include <string>

#include "config/fields.h"

namespace mara::optim {

/// The recipe's `schedule:` mapping: the learning rate as a pure function of the step.
///   warm-up: (step + 1) / warmup for the first `warmup` steps, then with u in [0, 1) from there on; u = 1 would be the
///   step after the last
///   constant: 1;  linear: 1 - (1 - floor) u;  cosine: floor + (1 - floor) (1 + cos(pi u)) / 2
///   wsd (warm-up, stable, decay): 1, then linear to floor over the last `decay` fraction of the steps
///   timm_cosine, as in safari and the H3 paper: start + (1 - start) step / warmup while warming up, then the cosine
///   with u from the run's first step on, so that it begins a little below 1
/// times optim.lr, of which `floor` and `start` are fractions. The clock of the others' decay starts after the warm-up.
struct ScheduleConfig {
  std::string kind = "cosine";
  int64_t warmup = 0;
  double floor = 0.1;
  double decay = 0.2;
  double start = 0.001;

  void fields(config::Fields& f);
};

/// Factor on the base learning rate at a 0-based step of a run of `steps` steps.
double schedule_factor(const ScheduleConfig& schedule, int64_t step, int64_t steps);

}  // namespace mara::optim
