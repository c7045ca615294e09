#pragma once

#include <string>

#include "config/fields.h"
#include "nn/linear.h"

namespace mara::nn {

/// identity | gelu | silu | relu
config::Check is_activation();
Tensor activate(const std::string& name, const Tensor& x);

/// (B, L, D) -> (D, B, L), a copy: what a layer without an input projection convolves.
Tensor to_channels(const Tensor& x);

struct ChannelOutputOptions {
  std::string activation = "gelu";
  std::string output = "glu";  // glu | linear | none
  double dropout = 0;

  void fields(config::Fields& f);
};

/// What follows the convolution in S4 and LongConv layers: (C, B, L) -> (B, L, D) from h = dropout(activation(u)), by
///   glu     a * sigmoid(b), [a, b] = W h + bias, (2 D) channels
///   linear  W h + bias
///   none    h itself, for C = D
/// W is drawn with the deviation that the model gives matrices that write to the residual stream.
class ChannelOutput : public Module {
 public:
  ChannelOutput(const ChannelOutputOptions& options, int64_t channels, int64_t width, double output_std);
  Tensor forward(const Tensor& u, bool training) const;

 private:
  ChannelOutputOptions options_;
  int64_t width_;
  Linear* proj_ = nullptr;
};

}  // namespace mara::nn
