#include "eval/evaluate.h"

#include <algorithm>
#include <vector>

#include "autograd/tape.h"
#include "core/parallel.h"
#include "kernels/loss.h"

namespace mara::eval {

Evaluation evaluate(models::Model& model, const tasks::Task& task, tasks::Split split, int64_t count, int64_t batch,
                    Device device) {
  const NoGrad no_grad;
  const size_t length = static_cast<size_t>(task.length());
  Evaluation out;
  out.examples = count;
  double loss = 0;
  int64_t right = 0;
  for (int64_t first = 0; first < count; first += batch) {
    const int64_t rows = std::min(batch, count - first);
    std::vector<int32_t> ids(static_cast<size_t>(rows) * length), targets(ids.size());
    parallel_chunks(rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const size_t offset = static_cast<size_t>(i) * length;
        task.example(split, first + i, std::span(ids).subspan(offset, length),
                     std::span(targets).subspan(offset, length));
      }
    });
    const Shape shape{rows, task.length()};
    const models::Batch on_device{Tensor::from(ids, shape, device), Tensor::from(targets, shape, device)};
    const ops::CrossEntropy result = model.loss(on_device, {.ids = on_device.ids}, true);
    loss += result.sum.item();
    const std::vector<int32_t> predictions = result.predictions.to_host_i32();
    for (size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] == kernels::kIgnoredTarget) continue;
      ++out.scored;
      right += predictions[i] == targets[i];
    }
  }
  if (out.scored > 0) {
    out.loss = loss / static_cast<double>(out.scored);
    out.accuracy = static_cast<double>(right) / static_cast<double>(out.scored);
  }
  return out;
}

}  // namespace mara::eval
