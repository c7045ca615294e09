#pragma once
// Which split an example belongs to: decided by what the model reads alone, for every task and seed.

#include <cstdint>
#include <span>

#include "tasks/task.h"

namespace mara::tasks {

/// XXH3 (64 bits) of the tokens.
uint64_t hash_tokens(std::span<const int32_t> ids);

/// One eighth of all examples is valid, one eighth test, the rest train.
Split split_of(std::span<const int32_t> ids);
Split split_of(const Row& row);

}  // namespace mara::tasks
