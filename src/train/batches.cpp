#include "train/batches.h"

#include "core/runtime.h"

namespace mara::train {

Batches::Batches(std::unique_ptr<BatchSource> source, int64_t batch, Device device)
    : source_(std::move(source)),
      device_batch_{Tensor::empty({batch, source_->length()}, Dtype::i32, device),
                    Tensor::empty({batch, source_->length()}, Dtype::i32, device)} {}

void Batches::upload(int64_t step) {
  const BatchSource::Rows rows = source_->batch(step);
  Runtime& device = runtime(device_batch_.ids.device());
  device.copy_to_device(device_batch_.ids.view().data, rows.ids.data(), rows.ids.size_bytes());
  device.copy_to_device(device_batch_.targets.view().data, rows.targets.data(), rows.targets.size_bytes());
}

models::Batch Batches::part(int64_t first, int64_t count) const {
  return {device_batch_.ids.narrow(first, count), device_batch_.targets.narrow(first, count)};
}

}  // namespace mara::train
