#include "tasks/rows.h"

namespace mara::tasks {

Rows::Rows(int64_t count, const ExampleForm& form)
    : ids(static_cast<size_t>(form.features == 0 ? count * form.length : 0)),
      targets(static_cast<size_t>(count * form.targets)),
      inputs(static_cast<size_t>(count * form.length * form.features)),
      values(static_cast<size_t>(form.values ? count * form.targets : 0)),
      count_(static_cast<size_t>(count)) {}

Row Rows::operator[](int64_t i) {
  const auto part = [&](auto& all) {
    const size_t size = all.size() / count_;
    return std::span(all).subspan(static_cast<size_t>(i) * size, size);
  };
  return {.ids = part(ids), .targets = part(targets), .inputs = part(inputs), .values = part(values)};
}

}  // namespace mara::tasks
