#pragma once

#include "nn/module.h"

namespace mara::nn {

/// y = x W^T + b with W (out, in) in the compute dtype and b (out) in f32. The weight is a matrix to weight decay, the
/// bias a vector.
class Linear : public Module {
 public:
  struct Options {
    bool bias = true;
    ParamHints hints = {};  // of the weight; the bias has the same but as a vector
    Init bias_init = Init::zeros();
  };
  Linear(int64_t in, int64_t out, const Init& weight) : Linear(in, out, weight, Options{}) {}
  Linear(int64_t in, int64_t out, const Init& weight, const Options& options);

  Tensor forward(const Tensor& x) const;                // (..., in) -> (..., out)
  Tensor forward_to_channels(const Tensor& x) const;    // (B, L, in) -> (out, B, L)
  Tensor forward_from_channels(const Tensor& u) const;  // (in, B, L) -> (B, L, out)

  Tensor weight() const { return weight_.value(); }
  Tensor bias() const { return bias_ != nullptr ? bias_->value() : Tensor(); }  // undefined if there is none
  Dtype dtype() const { return weight_.value().dtype(); }                       // of inputs and outputs
  Device device() const { return weight_.value().device(); }

 private:
  Parameter& weight_;
  Parameter* bias_ = nullptr;
};

}  // namespace mara::nn
