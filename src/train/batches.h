#pragma once

#include <memory>
#include <optional>

#include "core/staging.h"
#include "models/model.h"
#include "train/batch_source.h"

namespace mara::train {

/// The training batch of a step in device memory, at fixed addresses.
class Batches {
 public:
  Batches(std::unique_ptr<BatchSource> source, int64_t batch, Device device);

  const BatchSource& source() const { return *source_; }
  void upload(int64_t step);
  /// Examples [first, first + count) of the uploaded batch.
  models::Batch part(int64_t first, int64_t count) const;

 private:
  std::unique_ptr<BatchSource> source_;
  models::Batch device_batch_;
  std::optional<Upload> ids_, targets_, inputs_, values_;  // of the tensors that are there
};

}  // namespace mara::train
