#pragma once
// Parameters of a model under test: found by name, set, and filled with values that hide nothing (initial values
// such as zero biases or 0.02-scaled matrices would).

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "devices.h"
#include "kernels/kernels.h"
#include "nn/parameter_arena.h"

namespace mara::nn {

inline Parameter& parameter(Module& module, std::string_view name) {
  Parameter* found = nullptr;
  module.visit_parameters([&](const std::string& full, Parameter& p) {
    if (full == name) found = &p;
  });
  if (found == nullptr) throw std::logic_error("no parameter " + std::string(name));
  return *found;
}

inline std::vector<std::string> names(Module& module) {
  std::vector<std::string> out;
  module.visit_parameters([&](const std::string& full, Parameter&) { out.push_back(full); });
  return out;
}

/// Sets the master and, where there is one, the compute copy.
inline void assign(const Parameter& p, const std::vector<double>& values) {
  const Tensor source = Tensor::from(values, p.shape(), p.master().dtype(), p.master().device());
  auto [k, stream] = kernels::on(source.device());
  k.copy(stream, {.x = source.view(), .y = p.master().view()});
  if (p.value().storage() != p.master().storage()) k.copy(stream, {.x = source.view(), .y = p.value().view()});
}
inline void assign(Module& module, const std::string& name, const std::vector<double>& values) {
  assign(parameter(module, name), values);
}

/// Every trainable parameter gets a wave of its own.
inline void assign_waves(const ParameterArena& arena, double scale = 0.4) {
  double phase = 0;
  for (const Parameter* p : arena.parameters()) assign(*p, wave(p->shape().numel(), phase += 1.3, scale));
}

}  // namespace mara::nn
