#include "optim/adamw.h"

#include <vector>

#include "core/runtime.h"
#include "kernels/kernels.h"

namespace mara::optim {
namespace {

// One range per run of neighbours with equal hints; the padding between them belongs to the first.
std::vector<kernels::AdamWRange> hint_ranges(const nn::ParameterArena& arena, const OptimConfig& config) {
  std::vector<kernels::AdamWRange> out;
  for (const nn::ParameterArena::Range& range : arena.ranges()) {
    const nn::ParamHints& hints = range.parameter->hints();
    const float lr_scale = config.lr_scale(hints), decay = static_cast<float>(config.decay_of(hints));
    if (!out.empty() && out.back().lr_scale == lr_scale && out.back().weight_decay == decay) {
      out.back().end = range.end;
    } else {
      out.push_back({range.begin, range.end, lr_scale, decay});
    }
  }
  return out;
}

}  // namespace

AdamW::AdamW(const OptimConfig& config, const nn::ParameterArena& arena) : config_(config), arena_(arena) {
  auto [k, stream] = kernels::on(arena.device());
  for (Tensor* moment : {&m_, &v_}) {
    *moment = Tensor::empty_like(arena.master(), "optimiser state");
    k.fill(stream, {.y = moment->view(), .value = 0});
  }
  grad_squares_ = Tensor::empty({1}, Dtype::f64, arena.device());
  const std::vector<kernels::AdamWRange> ranges = hint_ranges(arena, config);
  range_count_ = static_cast<int64_t>(ranges.size());
  const int64_t bytes = range_count_ * static_cast<int64_t>(sizeof(kernels::AdamWRange));
  ranges_ = Tensor::empty({bytes / size_of(Dtype::i32)}, Dtype::i32, arena.device());
  runtime(arena.device()).copy_to_device(ranges_.view().data, ranges.data(), static_cast<size_t>(bytes));
}

void AdamW::step(const StepTensors& tensors) {
  auto [k, stream] = kernels::on(arena_.device());
  k.sum_of_squares(stream, {.x = arena_.grad().view(), .y = grad_squares_.view()});
  k.adamw(stream, {.master = arena_.master().view(),
                   .grad = arena_.grad().view(),
                   .m = m_.view(),
                   .v = v_.view(),
                   .compute = arena_.compute().view(),
                   .ranges = ranges_.view().ptr<const kernels::AdamWRange>(),
                   .range_count = range_count_,
                   .loss_sum = tensors.loss_sum.view(),
                   .count = tensors.count.view(),
                   .grad_squares = grad_squares_.view(),
                   .scalars = tensors.scalars,
                   .report = tensors.report,
                   .beta1 = static_cast<float>(config_.beta1),
                   .beta2 = static_cast<float>(config_.beta2),
                   .eps = static_cast<float>(config_.eps),
                   .clip = static_cast<float>(config_.clip)});
}

void AdamW::state(StateVisitor& visitor) {
  for (const nn::ParameterArena::Range& range : arena_.ranges()) {
    const nn::Parameter& parameter = *range.parameter;
    const auto part = [&](const Tensor& moment) {
      return moment.narrow(range.begin, range.end - range.begin).reshape(parameter.shape());
    };
    visitor.tensor("optimizer.m." + parameter.name(), part(m_));
    visitor.tensor("optimizer.v." + parameter.name(), part(v_));
  }
}

int64_t AdamW::memory_bytes() const { return 2 * m_.numel() * size_of(m_.dtype()); }

}  // namespace mara::optim
