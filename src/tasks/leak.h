#pragma once

#include <cstdint>

#include "tasks/task.h"

namespace mara::tasks {

/// The fraction of the first `count` examples of `split` whose tokens are those of one of the first `train_examples`
/// training examples. 0 for valid and test, or the splits do not do their work.
double leak_fraction(const Task& task, Split split, int64_t count, int64_t train_examples);

}  // namespace mara::tasks
