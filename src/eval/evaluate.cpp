#include "eval/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <numbers>
#include <vector>

#include "autograd/tape.h"
#include "core/parallel.h"
#include "kernels/loss.h"

namespace mara::eval {
namespace {

double square(double x) { return x * x; }

models::Batch upload(const tasks::Rows& rows, int64_t count, const ExampleForm& form, Device device) {
  const auto reals = [&](const std::vector<float>& values, const Shape& shape) {
    if (values.empty()) return Tensor();
    return Tensor::from(std::vector<double>(values.begin(), values.end()), shape, Dtype::f32, device);
  };
  return {.ids = form.features == 0 ? Tensor::from(rows.ids, {count, form.length}, device) : Tensor(),
          .targets = Tensor::from(rows.targets, {count, form.targets}, device),
          .inputs = reals(rows.inputs, {count, form.length, form.features}),
          .values = reals(rows.values, {count, form.targets})};
}

}  // namespace

void Group::add(const Group& other) {
  scored += other.scored;
  right += other.right;
  loss_sum += other.loss_sum;
  reference_sum += other.reference_sum;
}

Evaluation evaluate(models::Model& model, const Examples& examples, int64_t batch, Device device,
                    Breakdown* breakdown) {
  const NoGrad no_grad;
  Evaluation out;
  out.examples = examples.count;
  double loss = 0, text_loss = 0, reference = 0;
  int64_t right = 0, exact = 0;
  const ExampleForm& form = examples.form;
  const bool values = form.values;
  if (!values) out.accuracy = 0;
  if (breakdown != nullptr) breakdown->values = values;
  for (int64_t first = 0; first < examples.count; first += batch) {
    const int64_t count = std::min(batch, examples.count - first);
    tasks::Rows rows(count, form);
    std::vector<float> estimates(examples.reference ? rows.values.size() : 0);
    parallel_chunks(count, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        examples.example(first + i, rows[i]);
        const auto size = static_cast<size_t>(form.targets);
        if (!estimates.empty()) {
          examples.reference(rows[i], std::span(estimates).subspan(static_cast<size_t>(i) * size, size));
        }
      }
    });
    const models::Batch on_device = upload(rows, count, form, device);
    const ops::Loss result = model.loss(on_device, {.ids = on_device.ids}, true);
    loss += result.sum.item();
    const std::vector<int32_t> predictions =
        result.predictions.defined() ? result.predictions.to_host_i32() : std::vector<int32_t>();
    const bool each_loss = examples.bytes || breakdown != nullptr;
    const std::vector<double> token_loss = each_loss ? result.token_loss.to_host() : std::vector<double>();
    std::vector<bool> all_right(static_cast<size_t>(count), true);
    for (size_t i = 0; i < rows.targets.size(); ++i) {
      const int32_t target = rows.targets[i];
      if (target == kernels::kIgnoredTarget) continue;
      ++out.scored;
      Group one{.scored = 1, .right = !predictions.empty() && predictions[i] == target};
      if (!estimates.empty()) one.reference_sum = square(static_cast<double>(estimates[i]) - rows.values[i]);
      const auto row = static_cast<int64_t>(i) / form.targets;
      right += one.right;
      if (one.right == 0) all_right[static_cast<size_t>(row)] = false;
      reference += one.reference_sum;
      if (breakdown != nullptr) {
        one.loss_sum = token_loss[i];
        const int64_t position = static_cast<int64_t>(i) % form.targets;
        breakdown->by_position[position].add(one);
        if (examples.distance) breakdown->by_distance[examples.distance(rows[row].ids, position)].add(one);
      }
      const int64_t bytes = examples.bytes ? examples.bytes(target) : 0;
      if (bytes == 0) continue;
      out.bytes += bytes;
      text_loss += token_loss[i];
    }
    exact += std::count(all_right.begin(), all_right.end(), true);
  }
  if (out.scored > 0) {
    out.loss = loss / static_cast<double>(out.scored);
    if (!values) out.accuracy = static_cast<double>(right) / static_cast<double>(out.scored);
    out.exact = static_cast<double>(exact) / static_cast<double>(out.examples);
    if (examples.reference) out.reference = reference / static_cast<double>(out.scored);
  }
  if (out.bytes > 0) out.bits_per_byte = text_loss / (std::numbers::ln2 * static_cast<double>(out.bytes));
  return out;
}

std::string quality_text(const Evaluation& e) {
  if (e.reference) return fmt::format("squared error {:.4f}, {:.4f} is possible", e.loss, *e.reference);
  return e.bits_per_byte ? fmt::format("{:.3f} bits per byte", *e.bits_per_byte)
                         : fmt::format("accuracy {:.2f} %", 100 * e.accuracy.value_or(0));
}

}  // namespace mara::eval
