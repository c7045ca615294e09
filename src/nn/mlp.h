#pragma once

#include <memory>

#include "config/fields.h"
#include "nn/context.h"
#include "nn/linear.h"

namespace mara::nn {

/// The recipe's `mlp:` mapping.
struct MlpConfig {
  std::string kind = "gelu";
  double ratio = 4;
  double dropout = 0;

  void fields(config::Fields& f);
};

/// Position-wise network with F = ratio * D hidden units.
///   gelu:   W2 gelu_tanh(W1 x + b1) + b2
///   swiglu: W2 (silu(W1 x + b1) * (W3 x + b3)) + b2   (Shazeer, 2002.05202)
/// Dropout stands before W2.
class Mlp : public Module {
 public:
  Mlp(const MlpConfig& config, int64_t width, double init_std, double output_std);
  Tensor forward(const Tensor& x, const Context& context) const;

 private:
  double dropout_;
  Linear &in_, *value_ = nullptr, *out_;
};

}  // namespace mara::nn
