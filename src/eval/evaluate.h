#pragma once

#include <cstdint>

#include "models/model.h"
#include "tasks/task.h"

namespace mara::eval {

struct Evaluation {
  int64_t examples = 0;
  int64_t scored = 0;   // positions
  double loss = 0;      // mean over the scored positions, nats
  double accuracy = 0;  // fraction of the scored positions whose argmax is the target
};

/// Runs the model on examples [0, count) of a split, `batch` at a time, without recording.
Evaluation evaluate(models::Model& model, const tasks::Task& task, tasks::Split split, int64_t count, int64_t batch,
                    Device device);

}  // namespace mara::eval
