#include "train/batches.h"

namespace mara::train {
namespace {

size_t bytes(const Tensor& ids) { return static_cast<size_t>(ids.numel() * size_of(ids.dtype())); }

}  // namespace

Batches::Batches(std::unique_ptr<BatchSource> source, int64_t batch, Device device)
    : source_(std::move(source)),
      device_batch_{Tensor::empty({batch, source_->length()}, Dtype::i32, device),
                    Tensor::empty({batch, source_->length()}, Dtype::i32, device)},
      ids_(device, bytes(device_batch_.ids)),
      targets_(device, bytes(device_batch_.targets)) {}

void Batches::upload(int64_t step) {
  const BatchSource::Rows rows = source_->batch(step);
  ids_.send(device_batch_.ids.view().data, rows.ids.data());
  targets_.send(device_batch_.targets.view().data, rows.targets.data());
}

models::Batch Batches::part(int64_t first, int64_t count) const {
  return {device_batch_.ids.narrow(first, count), device_batch_.targets.narrow(first, count)};
}

}  // namespace mara::train
