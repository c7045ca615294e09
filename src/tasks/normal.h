#pragma once

#include "kernels/common/philox.h"

namespace mara::tasks {

/// A number of N(0, 1) (Box and Muller, 1958); takes four words of `random`.
double normal(PhiloxSequence& random);

}  // namespace mara::tasks
