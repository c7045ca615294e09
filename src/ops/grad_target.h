#pragma once
// Where a kernel puts the gradient of an op's input.

#include "autograd/tape.h"

namespace mara::ops {

/// For kernels that write a gradient in one dtype: the place the gradient lives in if the dtypes agree and this is the
/// first contribution to it, or the kernel can add; else a temporary that commit() adds. An input that wants no gradient
/// gives an empty view, which kernels take as "skip this output".
class GradTarget {
 public:
  enum Ability : uint8_t { overwrites, overwrites_or_adds };

  /// `like` has the shape and dtype of the gradient.
  GradTarget(Grads& grads, int input, const Tensor& like, Ability kernel = overwrites) : grads_(grads), input_(input) {
    if (!like.defined() || !grads.wants(input)) return;
    if (grads.dtype(input) == like.dtype() && (kernel == overwrites_or_adds || grads.untouched(input))) {
      slot_ = grads.slot(input);
    } else {
      temporary_ = Tensor::empty_like(like);
      slot_.dst = temporary_.view();
    }
  }
  const View& view() const { return slot_.dst; }
  /// Whether the kernel must add to what is there.
  bool accumulate() const { return slot_.accumulate; }
  void commit() {
    if (temporary_.defined()) grads_.add(input_, temporary_);
  }

 private:
  Grads& grads_;
  int input_;
  Grads::Slot slot_ = {{}, false};
  Tensor temporary_;
};

/// For kernels that can add in any dtype: the slot, or an empty one where no gradient is wanted.
inline Grads::Slot slot_if_wanted(Grads& grads, int input, const Tensor& value) {
  if (!value.defined() || !grads.wants(input)) return {{}, false};
  return grads.slot(input);
}

}  // namespace mara::ops
