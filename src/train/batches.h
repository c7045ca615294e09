#pragma once

#include <vector>

#include "models/model.h"
#include "tasks/task.h"

namespace mara::train {

/// The training batch of a step in device memory, at fixed addresses. Which examples it holds is a pure function of
/// (seed, step): the stream of shuffled epochs, cut into batches.
class Batches {
 public:
  Batches(const tasks::Task& task, uint64_t seed, int64_t examples, int64_t batch, Device device);

  void upload(int64_t step);
  /// Examples [first, first + count) of the uploaded batch.
  models::Batch part(int64_t first, int64_t count) const;

 private:
  const tasks::Task& task_;
  uint64_t seed_;
  int64_t examples_, batch_;
  std::vector<int32_t> ids_, targets_;  // (batch, L) staging
  models::Batch device_batch_;
};

}  // namespace mara::train
