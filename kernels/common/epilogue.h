#pragma once
// A product's epilogue as a pass of its own, for backends, and for cases, that have nothing better.

#include "core/stream.h"
#include "kernels/matmul.h"

namespace mara::kernels {

/// Calls the three kernels of one backend: the product alone, to where the function's argument belongs, and then the
/// function or its derivative. `args` has an epilogue.
inline void multiply_then_apply(Stream& stream, const Matmul& args, void (*product)(Stream&, const Matmul&),
                                void (*forward)(Stream&, const UnaryForward&),
                                void (*backward)(Stream&, const UnaryBackward&)) {
  const bool gradient = args.epilogue == Epilogue::activation_gradient;
  Matmul plain = args;
  plain.epilogue = Epilogue::none;
  plain.pre = {};
  if (!gradient && args.pre) plain.c = args.pre;
  product(stream, plain);
  if (gradient) {
    backward(stream, {.function = args.function, .x = args.pre, .dy = args.c, .dx = args.c});
  } else {
    forward(stream, {.function = args.function, .x = plain.c, .y = args.c});
  }
}

}  // namespace mara::kernels
