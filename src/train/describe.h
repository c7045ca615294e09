#pragma once
// What a recipe would make, without making it.

#include <cstdint>
#include <string>
#include <vector>

#include "train/recipe.h"

namespace mara::train {

struct Description {
  struct Row {
    std::string name;  // "blocks.*.mixer.in_proj.weight": numbered modules of equal shape are one row
    Shape shape;
    int64_t copies = 1;
    int64_t elements = 0;  // of all copies
    nn::ParamHints hints;
  };
  std::vector<Row> parameters;  // trainable, in order of registration
  std::vector<Row> constants;   // not trainable
  int64_t parameter_count = 0;  // trainable elements
  int64_t weight_bytes = 0;     // master weights, gradients, compute copies, constants
  int64_t optimizer_bytes = 0;
  int64_t activation_bytes = 0;  // peak of the step pool in one micro-batch, forward and backward
  double flops_per_token = 0;    // products, attention, long convolutions and their systems; forward and backward
};

/// Walks one micro-batch of training on the meta device: exact shapes, the memory of tensors and the work, no data. A
/// model with billions of parameters takes milliseconds.
Description describe(const Recipe& recipe);

/// Tables of parameters and constants, memory and work, as text.
std::string summary_text(const Description& description, const Recipe& recipe);

/// The summary and the resolved recipe, as a page of text.
std::string to_text(const Description& description, const Recipe& recipe);

/// Every option a recipe can have: key, default, meaning.
std::string options_text();

}  // namespace mara::train
