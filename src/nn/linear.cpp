#include "nn/linear.h"

#include <algorithm>

#include "ops/matmul.h"

namespace mara::nn {

Linear::Linear(int64_t in, int64_t out, const Init& weight, const Options& options)
    : weight_(param("weight", {out, in}, weight, options.hints)) {
  if (!options.bias) return;
  ParamHints hints = options.hints;
  hints.decay = std::min(hints.decay, Decay::vector);
  hints.precision = Precision::f32;
  bias_ = &param("bias", {out}, options.bias_init, hints);
}

Tensor Linear::forward(const Tensor& x) const { return ops::linear(x, weight_.value(), bias()); }

Tensor Linear::forward_to_channels(const Tensor& x) const {
  return ops::linear_to_channels(x, weight_.value(), bias());
}

Tensor Linear::forward_from_channels(const Tensor& u) const {
  return ops::linear_from_channels(u, weight_.value(), bias());
}

}  // namespace mara::nn
