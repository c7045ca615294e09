#pragma once

#include "nn/parameters.h"

namespace mara::nn {

/// The filter weights of the published Monarch example (hidden width 3, two channels, five features).
inline void assign_monarch_filter(Module& module, const std::string& prefix) {
  assign(module, prefix + "frequency", {10, 10, 10});
  double seed = 1;
  for (const std::string network : {"forward.", "reverse."}) {
    for (int i = 0; i < 3; ++i) {
      const std::string layer = prefix + network + "layer" + std::to_string(i);
      assign(module, layer + ".weight", wave(i == 0 ? 15 : 9, seed + 2 * i, .1));
      assign(module, layer + ".bias", wave(3, seed + 2 * i + 1, .05));
    }
    assign(module, prefix + network + "output.weight", wave(6, seed + 6, .3));
    seed += 50;
  }
}

}  // namespace mara::nn
