#include "nn/parameter_arena.h"

#include "kernels/kernels.h"

namespace mara::nn {
namespace {

constexpr int64_t kAlignment = 128;  // elements: 256 bytes of bf16, the narrowest buffer

int64_t aligned(int64_t count) { return (count + kAlignment - 1) / kAlignment * kAlignment; }

Tensor zeros(int64_t count, Dtype dtype, Device device, const char* label) {
  const Tensor out = Tensor::empty({count}, dtype, device, label);
  auto [k, stream] = kernels::on(device);
  k.fill(stream, {.y = out.view(), .value = 0});
  return out;
}

}  // namespace

ParameterArena::ParameterArena(Module& model, Device device, Dtype compute, uint64_t seed) {
  const Dtype wide = compute_dtype(compute);
  model.visit_parameters([&](const std::string& name, Parameter& parameter) {
    parameter.leaf_.name = name;
    (parameter.hints_.trainable ? parameters_ : constant_parameters_).push_back(&parameter);
  });
  const auto total = [](const std::vector<Parameter*>& list) {
    int64_t n = 0;
    for (const Parameter* parameter : list) n += aligned(parameter->shape_.numel());
    return n;
  };
  const int64_t n = total(parameters_);
  // Zeroed, padding included: norms and the optimiser sweep over the gaps.
  master_ = zeros(n, wide, device, "master weights");
  grad_ = zeros(n, wide, device, "weight gradients");
  if (compute == Dtype::bf16) compute_ = zeros(n, Dtype::bf16, device, "compute weights");
  constants_ = zeros(total(constant_parameters_), wide, device, "constants");

  const auto place = [&](Parameter& parameter, const Tensor& buffer, int64_t begin) {
    return buffer.narrow(begin, parameter.shape_.numel()).reshape(parameter.shape_);
  };
  int64_t begin = 0;
  for (auto it = parameters_.rbegin(); it != parameters_.rend(); ++it) {
    Parameter& parameter = **it;
    const int64_t count = parameter.shape_.numel();
    parameter.master_ = place(parameter, master_, begin);
    parameter.grad_ = place(parameter, grad_, begin);
    parameter.leaf_.grad.data = grad_.narrow(begin, count);
    parameter.init_.fill(parameter.master_, seed, parameter.name());
    const bool copied = compute_.defined() && parameter.hints_.precision == Precision::compute;
    parameter.value_ = parameter.leaf_.track(copied ? place(parameter, compute_, begin) : parameter.master_);
    ranges_.push_back({&parameter, begin, begin + count});
    begin += aligned(count);
    parameter_count_ += count;
  }
  begin = 0;
  for (Parameter* constant : constant_parameters_) {
    constant->master_ = constant->value_ = place(*constant, constants_, begin);
    constant->init_.fill(constant->master_, seed, constant->name());
    begin += aligned(constant->shape_.numel());
  }
  write_compute_copies();
}

void ParameterArena::write_compute_copies() {
  auto [k, stream] = kernels::on(device());
  for (Parameter* parameter : parameters_) {
    if (parameter->value_.dtype() == parameter->master_.dtype()) continue;
    k.copy(stream, {.x = parameter->master_.view(), .y = parameter->value_.view()});
  }
}

void ParameterArena::state(StateVisitor& visitor) {
  for (const auto* list : {&parameters_, &constant_parameters_}) {
    for (const Parameter* parameter : *list) visitor.tensor(parameter->name(), parameter->master_);
  }
  visitor.after_loading([this] { write_compute_copies(); });
}

void ParameterArena::begin_step() {
  for (Parameter* parameter : parameters_) parameter->leaf_.grad.written.clear();
}

void ParameterArena::finish_step() {
  for (Parameter* parameter : parameters_) zero_unwritten(parameter->leaf_.grad);
}

int64_t ParameterArena::memory_bytes() const {
  int64_t bytes = 0;
  for (const Tensor& buffer : {master_, grad_, compute_, constants_}) {
    if (buffer.defined()) bytes += buffer.numel() * size_of(buffer.dtype());
  }
  return bytes;
}

}  // namespace mara::nn
