#pragma once
// The endless shuffled stream of training examples, without a stored permutation: resuming needs only the position.

#include <cstdint>

namespace mara::tasks {

/// The index of the training example at `position` >= 0. Each epoch of `examples` positions is a permutation of
/// [0, examples), another one every epoch and a pure function of (seed, epoch). examples == 0: `position` itself.
int64_t example_at(uint64_t seed, int64_t position, int64_t examples);

}  // namespace mara::tasks
