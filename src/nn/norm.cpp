#include "nn/norm.h"

namespace mara::nn {

LayerNorm::LayerNorm(int64_t width, Dtype out, double eps)
    : gain_(param("gain", {width}, Init::ones(), kVector)),
      bias_(param("bias", {width}, Init::zeros(), kVector)),
      out_(out),
      eps_(eps) {}

Tensor LayerNorm::forward(const Tensor& x) const {
  return ops::layer_norm(x, gain_.value(), bias_.value(), eps_, out_);
}

ops::SumAndNorm LayerNorm::add_forward(const Tensor& x, const Tensor& branch) const {
  return ops::add_layer_norm(x, branch, gain_.value(), bias_.value(), eps_, out_);
}

RMSNorm::RMSNorm(int64_t width, Dtype out, double eps)
    : gain_(param("gain", {width}, Init::ones(), kVector)), out_(out), eps_(eps) {}

Tensor RMSNorm::forward(const Tensor& x) const { return ops::rms_norm(x, gain_.value(), eps_, out_); }

ops::SumAndNorm RMSNorm::add_forward(const Tensor& x, const Tensor& branch) const {
  return ops::add_rms_norm(x, branch, gain_.value(), eps_, out_);
}

std::unique_ptr<Norm> make_norm(const std::string& kind, int64_t width, Dtype out) {
  if (kind == "rms") return std::make_unique<RMSNorm>(width, out);
  return std::make_unique<LayerNorm>(width, out);
}

}  // namespace mara::nn
