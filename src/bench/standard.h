#pragma once

#include "bench/call.h"

namespace mara::bench {

/// The sizes that `mara bench` runs kernels at.
struct Sizes {
  int64_t B = 0, L = 0, D = 0, V = 0, H = 0, K = 0;  // sequences, tokens of each, width, vocabulary, heads, taps
  Dtype dtype = Dtype::f32;                          // of activations

  /// A model of 124 million parameters on 65,536 tokens in bf16; on a CPU a small one in f32.
  static Sizes of(Device device);
  /// "D=768", "dtype=bf16". Throws Error for anything else, and for sizes that cannot be.
  void set(const std::string& assignment);
};

/// A launch of every kernel whose name begins with `prefix`. Throws Error if there is none.
Calls standard_calls(const Sizes& sizes, const std::string& prefix);

}  // namespace mara::bench
