#include "tasks/rows.h"

namespace mara::tasks {

RowSizes sizes_of(const Task& task) {
  return {.ids = task.features() == 0 ? task.length() : 0,
          .targets = task.targets(),
          .inputs = task.length() * task.features(),
          .values = task.has_values() ? task.targets() : 0};
}

Rows::Rows(int64_t count, const RowSizes& sizes)
    : ids(static_cast<size_t>(count * sizes.ids)),
      targets(static_cast<size_t>(count * sizes.targets)),
      inputs(static_cast<size_t>(count * sizes.inputs)),
      values(static_cast<size_t>(count * sizes.values)),
      sizes_(sizes) {}

Row Rows::operator[](int64_t i) {
  const auto part = [i](auto& all, int64_t size) {
    return std::span(all).subspan(static_cast<size_t>(i * size), static_cast<size_t>(size));
  };
  return {.ids = part(ids, sizes_.ids),
          .targets = part(targets, sizes_.targets),
          .inputs = part(inputs, sizes_.inputs),
          .values = part(values, sizes_.values)};
}

}  // namespace mara::tasks
