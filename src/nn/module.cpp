#include "nn/module.h"

namespace mara::nn {

Parameter& Module::param(std::string name, const Shape& shape, Init init, ParamHints hints) {
  parameters_.push_back(std::make_unique<Parameter>(std::move(name), shape, std::move(init), hints));
  return *parameters_.back();
}

void Module::visit_parameters(const ParameterVisitor& visit, const std::string& prefix) {
  for (const auto& parameter : parameters_) {
    // A bound parameter carries its full name; only the part after the last dot is its own.
    const std::string& name = parameter->name();
    visit(prefix + name.substr(name.rfind('.') + 1), *parameter);
  }
  for (const Child& child : children_) {
    child.module->visit_parameters(visit, child.name.empty() ? prefix : prefix + child.name + ".");
  }
}

}  // namespace mara::nn
