#pragma once

#include <string>

#include "train/recipe.h"

namespace mara::train {

/// What to change so that a recipe's training fits into `capacity` bytes, from a walk through its step on the meta
/// device: the largest micro-batch, with activations recomputed only if there is no other way.
std::string what_would_fit(const Recipe& recipe, int64_t capacity);

}  // namespace mara::train
