#pragma once

#include <vector>

#include "tasks/task.h"

namespace mara::tasks {

/// Host memory of several examples of a form, each kind of number row-major.
class Rows {
 public:
  Rows(int64_t count, const ExampleForm& form);
  Row operator[](int64_t i);

  std::vector<int32_t> ids, targets;
  std::vector<float> inputs, values;

 private:
  size_t count_;
};

}  // namespace mara::tasks
