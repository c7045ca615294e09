#include "train/batches.h"

#include "core/parallel.h"
#include "core/runtime.h"
#include "tasks/example_order.h"

namespace mara::train {

Batches::Batches(const tasks::Task& task, uint64_t seed, int64_t examples, int64_t batch, Device device)
    : task_(task),
      seed_(seed),
      examples_(examples),
      batch_(batch),
      ids_(static_cast<size_t>(batch * task.length())),
      targets_(ids_.size()),
      device_batch_{Tensor::empty({batch, task.length()}, Dtype::i32, device),
                    Tensor::empty({batch, task.length()}, Dtype::i32, device)} {}

void Batches::upload(int64_t step) {
  const size_t length = static_cast<size_t>(task_.length());
  parallel_chunks(batch_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t offset = static_cast<size_t>(i) * length;
      task_.example(tasks::Split::train, tasks::example_at(seed_, step * batch_ + i, examples_),
                    std::span(ids_).subspan(offset, length), std::span(targets_).subspan(offset, length));
    }
  });
  Runtime& device = runtime(device_batch_.ids.device());
  device.copy_to_device(device_batch_.ids.view().data, ids_.data(), ids_.size() * sizeof(int32_t));
  device.copy_to_device(device_batch_.targets.view().data, targets_.data(), targets_.size() * sizeof(int32_t));
}

models::Batch Batches::part(int64_t first, int64_t count) const {
  return {device_batch_.ids.narrow(first, count), device_batch_.targets.narrow(first, count)};
}

}  // namespace mara::train
