#include "eval/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <numbers>
#include <vector>

#include "autograd/tape.h"
#include "core/parallel.h"
#include "kernels/loss.h"

namespace mara::eval {

void Group::add(const Group& other) {
  scored += other.scored;
  right += other.right;
  loss_sum += other.loss_sum;
}

Evaluation evaluate(models::Model& model, const Examples& examples, int64_t batch, Device device,
                    Breakdown* breakdown) {
  const NoGrad no_grad;
  const size_t length = static_cast<size_t>(examples.length);
  Evaluation out;
  out.examples = examples.count;
  double loss = 0, text_loss = 0;
  int64_t right = 0;
  for (int64_t first = 0; first < examples.count; first += batch) {
    const int64_t rows = std::min(batch, examples.count - first);
    std::vector<int32_t> ids(static_cast<size_t>(rows) * length), targets(ids.size());
    parallel_chunks(rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const size_t offset = static_cast<size_t>(i) * length;
        examples.example(first + i, std::span(ids).subspan(offset, length), std::span(targets).subspan(offset, length));
      }
    });
    const Shape shape{rows, examples.length};
    const models::Batch on_device{Tensor::from(ids, shape, device), Tensor::from(targets, shape, device)};
    const ops::CrossEntropy result = model.loss(on_device, {.ids = on_device.ids}, true);
    loss += result.sum.item();
    const std::vector<int32_t> predictions = result.predictions.to_host_i32();
    const bool each_loss = examples.bytes || breakdown != nullptr;
    const std::vector<double> token_loss = each_loss ? result.token_loss.to_host() : std::vector<double>();
    for (size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] == kernels::kIgnoredTarget) continue;
      ++out.scored;
      right += predictions[i] == targets[i];
      if (breakdown != nullptr) {
        const Group one{.scored = 1, .right = predictions[i] == targets[i], .loss_sum = token_loss[i]};
        const int64_t position = static_cast<int64_t>(i % length);
        breakdown->by_position[position].add(one);
        if (examples.distance) {
          const auto example = std::span<const int32_t>(ids).subspan(i - i % length, length);
          breakdown->by_distance[examples.distance(example, position)].add(one);
        }
      }
      const int64_t bytes = examples.bytes ? examples.bytes(targets[i]) : 0;
      if (bytes == 0) continue;
      out.bytes += bytes;
      text_loss += token_loss[i];
    }
  }
  if (out.scored > 0) {
    out.loss = loss / static_cast<double>(out.scored);
    out.accuracy = static_cast<double>(right) / static_cast<double>(out.scored);
  }
  if (out.bytes > 0) out.bits_per_byte = text_loss / (std::numbers::ln2 * static_cast<double>(out.bytes));
  return out;
}

std::string quality_text(const Evaluation& e) {
  return e.bits_per_byte ? fmt::format("{:.3f} bits per byte", *e.bits_per_byte)
                         : fmt::format("accuracy {:.2f} %", 100 * e.accuracy);
}

}  // namespace mara::eval
