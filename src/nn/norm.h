#pragma once

#include <memory>
#include <string>

#include "nn/module.h"
#include "ops/norm.h"

namespace mara::nn {

/// A normalisation over the last axis: reads the residual stream in its dtype, writes the compute dtype.
class Norm : public Module {
 public:
  virtual Tensor forward(const Tensor& x) const = 0;
  /// x + branch and forward(x + branch), in one pass.
  virtual ops::SumAndNorm add_forward(const Tensor& x, const Tensor& branch) const = 0;
};

/// (x - mean) / sqrt(var + eps) * gain + bias, gain 1 and bias 0 at first.
class LayerNorm : public Norm {
 public:
  LayerNorm(int64_t width, Dtype out, double eps = 1e-5);
  Tensor forward(const Tensor& x) const override;
  ops::SumAndNorm add_forward(const Tensor& x, const Tensor& branch) const override;

 private:
  Parameter &gain_, &bias_;
  Dtype out_;
  double eps_;
};

/// x / sqrt(mean(x^2) + eps) * gain, gain 1 at first.
class RMSNorm : public Norm {
 public:
  RMSNorm(int64_t width, Dtype out, double eps = 1e-5);
  Tensor forward(const Tensor& x) const override;
  ops::SumAndNorm add_forward(const Tensor& x, const Tensor& branch) const override;

 private:
  Parameter& gain_;
  Dtype out_;
  double eps_;
};

/// `kind` is "layer" or "rms".
std::unique_ptr<Norm> make_norm(const std::string& kind, int64_t width, Dtype out);

}  // namespace mara::nn
