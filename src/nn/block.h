#pragma once

#include <memory>

#include "nn/mixer.h"
#include "nn/mlp.h"
#include "nn/norm.h"

namespace mara::nn {

/// Pre-norm residual block on the stream x (B, L, D): x += mixer(norm1(x)); x += mlp(norm2(x)), each branch with
/// residual dropout. The stream keeps its dtype; branches run in the compute dtype.
class Block : public Module {
 public:
  /// Without an mlp the second branch is left out.
  Block(std::unique_ptr<SequenceMixer> mixer, std::unique_ptr<Mlp> mlp, const std::string& norm, int64_t width,
        Dtype compute, double dropout);

  Tensor forward(const Tensor& x, const Context& context) const;

  /// As SequenceMixer's.
  int64_t longest(int64_t max_length) const { return mixer_->longest(max_length); }
  std::unique_ptr<MixerState> start(int64_t batch, int64_t max_length) const {
    return mixer_->start(batch, max_length);
  }
  Tensor prefill(const Tensor& x, MixerState& state) const;

 private:
  Tensor add_branches(const Tensor& x, const Tensor& mixed, const Context& context) const;

  double dropout_;
  Norm *norm1_, *norm2_ = nullptr;
  SequenceMixer* mixer_;
  Mlp* mlp_ = nullptr;
};

}  // namespace mara::nn
