#include "ops/gather.h"

#include "autograd/tape.h"
#include "kernels/kernels.h"

namespace mara::ops {
namespace {

// Gathers from x viewed as (outer, n, inner); `shape` is the result's.
Tensor gather_from(const char* op, const Tensor& x, const Shape& view, const Tensor& index, const Shape& shape,
                   Dtype out) {
  const Tensor flat_index = index.reshape({index.numel()});
  Tensor y = Tensor::empty(shape, out, x.device());
  const Shape y_view{view[0], index.numel(), view[2]};
  auto [k, stream] = kernels::on(x.device());
  k.gather_forward(stream, {.x = x.reshape(view).view(), .index = flat_index.view(), .y = y.reshape(y_view).view()});
  return record(op, {x}, y, [flat_index, view, y_view](const Tensor& dy, Grads& g) {
    const Grads::Slot slot = g.slot(0);
    View dx = slot.dst;
    dx.shape = view;
    dx.stride = contiguous_strides(view);
    auto [k, stream] = kernels::on(dy.device());
    k.gather_backward(
        stream, {.index = flat_index.view(), .dy = dy.reshape(y_view).view(), .dx = dx, .accumulate = slot.accumulate});
  });
}

void check_index(const char* op, const Tensor& index) {
  MARA_CHECK(index.dtype() == Dtype::i32 && index.contiguous(), op, ": contiguous i32 indices are required, got ",
             index.dtype());
}

}  // namespace

Tensor gather(const Tensor& x, int axis, const Tensor& index) {
  MARA_CHECK(x.contiguous() && is_float(x.dtype()), "gather: a contiguous f32, bf16 or f64 tensor is required");
  check_index("gather", index);
  MARA_CHECK(index.rank() == 1, "gather: indices (M) are required, got ", index.shape());
  axis = x.shape().axis(axis);
  Shape view{1, x.size(axis), 1}, shape = x.shape();
  for (int i = 0; i < axis; ++i) view[0] *= x.size(i);
  for (int i = axis + 1; i < x.rank(); ++i) view[2] *= x.size(i);
  shape[axis] = index.size(0);
  return gather_from("gather", x, view, index, shape, x.dtype());
}

Tensor embedding(const Tensor& table, const Tensor& ids, Dtype out) {
  MARA_CHECK(table.rank() == 2 && table.contiguous() && is_float(table.dtype()),
             "embedding: a floating table (V, D) is required, got ", table.shape(), " ", table.dtype());
  check_index("embedding", ids);
  return gather_from("embedding", table, {1, table.size(0), table.size(1)}, ids, ids.shape().append(table.size(1)),
                     out);
}

}  // namespace mara::ops
