#pragma once

#include <vector>

#include "tasks/task.h"

namespace mara::tasks {

/// How many numbers of each kind an example has.
struct RowSizes {
  int64_t ids = 0, targets = 0, inputs = 0, values = 0;
};
RowSizes sizes_of(const Task& task);

/// Host memory of several examples, each kind of number row-major.
class Rows {
 public:
  Rows(int64_t count, const RowSizes& sizes);
  Row operator[](int64_t i);

  std::vector<int32_t> ids, targets;
  std::vector<float> inputs, values;

 private:
  RowSizes sizes_;
};

}  // namespace mara::tasks
