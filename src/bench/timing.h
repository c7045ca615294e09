#pragma once

#include "bench/call.h"

namespace mara::bench {

/// A call and how long the device takes for it.
struct Timed {
  std::string kernel, shapes;
  Dtype dtype = Dtype::f32;
  int64_t count = 1;
  double seconds = 0;  // of one launch
  double bytes = 0, flops = 0;

  double total_seconds() const { return seconds * static_cast<double>(count); }
};

/// What the device reaches on the two simplest things, for comparison.
struct Ceilings {
  double copy = 0;     // bytes/s read and written, copying f32
  double product = 0;  // flop/s of a matrix product: of bf16 on a GPU, of f32 on a CPU
};

/// The median over repeated runs, by the device's own clock. Launches are captured where that can be done, so that the
/// host does not count; random inputs, in rotation among several sets if one fits a cache. `effort`: seconds to spend.
Timed time(const Call& call, Device device, double effort);

Ceilings measure_ceilings(Device device, double effort);

}  // namespace mara::bench
