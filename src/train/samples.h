#pragma once

#include <string>

#include "eval/evaluate.h"
#include "train/recipe.h"

namespace mara::train {

/// What a language model writes: the beginnings of a few held-out windows, each continued by the model at temperature
/// 0.8, as a page of text. The draws are a function of the recipe's seed. Throws Error for a model without a step form.
std::string sample_texts(const Recipe& recipe, const models::Model& model, const eval::Examples& held_out,
                         Device device);

}  // namespace mara::train
