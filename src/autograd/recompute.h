#pragma once

#include <functional>
#include <vector>

#include "autograd/tape.h"

namespace mara {

using Inputs = std::vector<Tensor>;

/// Runs fn(inputs) without saving its activations; backward runs it again and differentiates that run, with the
/// random stream restored, so results are bit-equal to running fn directly (but for the order of summation where an
/// input is used several times inside and also outside). Every tracked tensor that fn uses must be in `inputs`
/// (parameters need not be): another one is an error, never a lost gradient.
Tensor recompute(const std::function<Tensor(const Inputs&)>& fn, const Inputs& inputs);

}  // namespace mara
