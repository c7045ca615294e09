#pragma once
// Where a kernel puts the gradient of an op's input.

#include "autograd/tape.h"

namespace mara::ops {

/// For kernels that can only overwrite, and only in one dtype: the place the gradient lives in if this is the first
/// contribution to it and the dtypes agree, else a temporary that commit() adds. An input that wants no gradient gives
/// an empty view, which kernels take as "skip this output".
class GradTarget {
 public:
  /// `like` has the shape and dtype of the gradient.
  GradTarget(Grads& grads, int input, const Tensor& like) : grads_(grads), input_(input) {
    if (!like.defined() || !grads.wants(input)) return;
    if (grads.untouched(input) && grads.dtype(input) == like.dtype()) {
      view_ = grads.slot(input).dst;
    } else {
      temporary_ = Tensor::empty_like(like);
      view_ = temporary_.view();
    }
  }
  const View& view() const { return view_; }
  void commit() {
    if (temporary_.defined()) grads_.add(input_, temporary_);
  }

 private:
  Grads& grads_;
  int input_;
  View view_;
  Tensor temporary_;
};

/// For kernels that can also accumulate: the slot, or an empty one where no gradient is wanted.
inline Grads::Slot slot_if_wanted(Grads& grads, int input, const Tensor& value) {
  if (!value.defined() || !grads.wants(input)) return {{}, false};
  return grads.slot(input);
}

}  // namespace mara::ops
