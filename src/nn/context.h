#pragma once

#include <limits>

#include "core/tensor.h"

namespace mara::nn {

/// The longest sequence of what no sequence is too long for.
inline constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

/// What a layer may need besides its input. Every tensor may be absent. A mixer that cannot honour segments or a
/// mask refuses them: wrong mixing must not pass in silence.
struct Context {
  Tensor ids;                     // (B, L) i32 token ids
  Tensor segments;                // (B, L) i32 document number in a packed row
  Tensor mask;                    // (B, L) i32, 0 where padding
  bool training = false;          // dropout is active
  bool recompute_blocks = false;  // blocks save their input only and run again in backward
};

}  // namespace mara::nn
