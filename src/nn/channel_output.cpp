#include "nn/channel_output.h"

#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/shape_ops.h"

namespace mara::nn {

config::Check is_activation() { return config::one_of({"identity", "gelu", "silu", "relu"}); }

Tensor activate(const std::string& name, const Tensor& x) {
  if (name == "gelu") return ops::gelu(x);
  if (name == "silu") return ops::silu(x);
  if (name == "relu") return ops::relu(x);
  return x;
}

Tensor to_channels(const Tensor& x) { return ops::contiguous(ops::permute(x, {2, 0, 1})); }

void ChannelOutputOptions::fields(config::Fields& f) {
  f.field("activation", activation, "after the convolution", is_activation());
  f.field("output", output, "the output map: `glu` gated by half of its channels, `linear`, or `none`",
          config::one_of({"glu", "linear", "none"}));
  f.field("dropout", dropout, "before the output map", config::between(0, 0.99));
}

ChannelOutput::ChannelOutput(const ChannelOutputOptions& options, int64_t channels, int64_t width, double output_std)
    : options_(options), width_(width) {
  if (options.output == "none") return;
  const int64_t out = options.output == "glu" ? 2 * width : width;
  proj_ = &child("proj", std::make_unique<Linear>(channels, out, Init::normal(output_std)));
}

Tensor ChannelOutput::forward(const Tensor& u, bool training) const {
  const Tensor hidden = ops::dropout(activate(options_.activation, u), training ? options_.dropout : 0);
  if (proj_ == nullptr) return ops::contiguous(ops::permute(hidden, {1, 2, 0}));
  const Tensor out = proj_->forward_from_channels(hidden);
  if (options_.output == "linear") return out;
  const auto half = [&](int64_t i) { return ops::contiguous(ops::slice(out, 2, i * width_, width_)); };
  return ops::mul(half(0), ops::sigmoid(half(1)));
}

}  // namespace mara::nn
