#include "nn/block.h"

#include "ops/dropout.h"
#include "ops/elementwise.h"

namespace mara::nn {

Block::Block(std::unique_ptr<SequenceMixer> mixer, std::unique_ptr<Mlp> mlp, const std::string& norm, int64_t width,
             Dtype compute, double dropout)
    : dropout_(dropout) {
  norm1_ = &child("norm1", make_norm(norm, width, compute));
  mixer_ = &child("mixer", std::move(mixer));
  if (mlp == nullptr) return;
  norm2_ = &child("norm2", make_norm(norm, width, compute));
  mlp_ = &child("mlp", std::move(mlp));
}

Tensor Block::forward(const Tensor& x, const Context& context) const {
  return add_branches(x, mixer_->forward(norm1_->forward(x), context), context);
}

Tensor Block::prefill(const Tensor& x, MixerState& state) const {
  return add_branches(x, mixer_->prefill(norm1_->forward(x), state), {});
}

Tensor Block::add_branches(const Tensor& x, const Tensor& mixed, const Context& context) const {
  const auto dropped = [&](const Tensor& branch) { return context.training ? ops::dropout(branch, dropout_) : branch; };
  if (mlp_ == nullptr) return ops::add(x, dropped(mixed));
  const auto [y, normed] = norm2_->add_forward(x, dropped(mixed));
  return ops::add(y, dropped(mlp_->forward(normed, context)));
}

}  // namespace mara::nn
