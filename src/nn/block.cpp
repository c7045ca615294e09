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
  const Tensor mixed = add_branch(x, mixer_->forward(norm1_->forward(x), context), context);
  if (mlp_ == nullptr) return mixed;
  return add_branch(mixed, mlp_->forward(norm2_->forward(mixed), context), context);
}

Tensor Block::add_branch(const Tensor& x, const Tensor& branch, const Context& context) const {
  return ops::add(x, context.training ? ops::dropout(branch, dropout_) : branch);
}

}  // namespace mara::nn
