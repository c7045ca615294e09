#include "nn/mlp.h"

#include <cmath>

#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"

namespace mara::nn {
namespace {

int64_t hidden_width(const MlpConfig& config, int64_t width) {
  return std::max<int64_t>(1, std::llround(config.ratio * static_cast<double>(width)));
}

}  // namespace

void MlpConfig::fields(config::Fields& f) {
  f.field("kind", kind, "position-wise network of each block", config::one_of({"gelu", "swiglu", "none"}));
  f.field("ratio", ratio, "hidden width, times the model's", config::between(1e-3, 1024));
  f.field("dropout", dropout, "on the hidden units", config::between(0, 0.99));
}

Mlp::Mlp(const MlpConfig& config, int64_t width, double init_std, double output_std)
    : dropout_(config.dropout),
      in_(child("in", std::make_unique<Linear>(width, hidden_width(config, width), Init::normal(init_std)))) {
  const int64_t hidden = hidden_width(config, width);
  if (config.kind == "swiglu") {
    value_ = &child("value", std::make_unique<Linear>(width, hidden, Init::normal(init_std)));
  }
  out_ = &child("out", std::make_unique<Linear>(hidden, width, Init::normal(output_std)));
}

Tensor Mlp::forward(const Tensor& x, const Context& context) const {
  const double dropped = context.training ? dropout_ : 0;
  if (value_ == nullptr && dropped == 0) {
    return ops::mlp(x, in_.weight(), in_.bias(), out_->weight(), out_->bias(), kernels::Unary::gelu_tanh);
  }
  const Tensor inner = in_.forward(x);
  const Tensor hidden = value_ != nullptr ? ops::mul(ops::silu(inner), value_->forward(x)) : ops::gelu_tanh(inner);
  return out_->forward(ops::dropout(hidden, dropped));
}

}  // namespace mara::nn
