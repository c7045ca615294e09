#include "tasks/task.h"

#include "tasks/split.h"

namespace mara::tasks {

std::string to_string(Split split) {
  switch (split) {
    case Split::train:
      return "train";
    case Split::valid:
      return "valid";
    default:
      return "test";
  }
}

void Task::example(Split split, int64_t index, const Row& row) const {
  // The smallest split takes 8 attempts on average; (7/8)^1000 = 1e-58, so the last attempt means it is empty.
  constexpr uint32_t kAttempts = 1000;
  for (uint32_t attempt = 0; attempt < kAttempts; ++attempt) {
    PhiloxSequence random(seed_, Purpose::task, static_cast<uint64_t>(index),
                          3 * attempt + static_cast<uint32_t>(split));
    draw(random, split, row);
    if (!splits_are_disjoint() || split_of(row) == split) return;
  }
  detail::throw_error(
      {"task: none of ", kAttempts, " examples drawn belongs to the ", split,
       " split, there are too few different ones; enlarge the task, as by vocab or length, or give more images"});
}

}  // namespace mara::tasks
