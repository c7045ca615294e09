#include "train/batches.h"

namespace mara::train {
namespace {

std::optional<Upload> upload_to(const Tensor& tensor) {
  if (!tensor.defined()) return std::nullopt;
  return std::optional<Upload>(std::in_place, tensor.device(),
                               static_cast<size_t>(tensor.numel() * size_of(tensor.dtype())));
}

template <class T>
void send(std::optional<Upload>& upload, const Tensor& tensor, std::span<const T> host) {
  if (upload) upload->send(tensor.view().data, host.data());
}

}  // namespace

Batches::Batches(std::unique_ptr<BatchSource> source, int64_t batch, Device device)
    : source_(std::move(source)),
      device_batch_(models::Batch::empty(batch, source_->form(), device)),
      ids_(upload_to(device_batch_.ids)),
      targets_(upload_to(device_batch_.targets)),
      inputs_(upload_to(device_batch_.inputs)),
      values_(upload_to(device_batch_.values)) {}

void Batches::upload(int64_t step) {
  const BatchSource::Rows rows = source_->batch(step);
  send(ids_, device_batch_.ids, rows.ids);
  send(targets_, device_batch_.targets, rows.targets);
  send(inputs_, device_batch_.inputs, rows.inputs);
  send(values_, device_batch_.values, rows.values);
}

models::Batch Batches::part(int64_t first, int64_t count) const {
  const auto rows = [&](const Tensor& all) { return all.defined() ? all.narrow(first, count) : Tensor(); };
  return {.ids = rows(device_batch_.ids),
          .targets = rows(device_batch_.targets),
          .inputs = rows(device_batch_.inputs),
          .values = rows(device_batch_.values)};
}

}  // namespace mara::train
