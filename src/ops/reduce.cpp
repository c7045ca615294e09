#include "ops/reduce.h"

#include "autograd/tape.h"
#include "kernels/kernels.h"
#include "ops/elementwise.h"

namespace mara::ops {
namespace {

// x viewed as (outer, n, inner) around one axis.
Shape around(const Tensor& x, int axis) {
  Shape out{1, x.size(axis), 1};
  for (int i = 0; i < axis; ++i) out[0] *= x.size(i);
  for (int i = axis + 1; i < x.rank(); ++i) out[2] *= x.size(i);
  return out;
}

}  // namespace

Tensor sum(const Tensor& x, int axis) {
  MARA_CHECK(x.defined() && is_float(x.dtype()) && x.contiguous(),
             "sum: a contiguous f32, bf16 or f64 tensor is required");
  axis = x.shape().axis(axis);
  const Shape flat = around(x, axis);
  Shape shape;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != axis) shape = shape.append(x.size(i));
  }
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  auto [k, stream] = kernels::on(x.device());
  k.reduce_sum(stream, {.x = x.reshape(flat).view(), .y = y.reshape({flat[0], flat[2]}).view()});
  return record("sum", {x}, y, [flat, like = x.shape()](const Tensor& dy, Grads& g) {
    // Every summand receives dy: a view that repeats it along the summed axis, copied out.
    const Tensor repeated = dy.strided({flat[0], flat[1], flat[2]}, {flat[2], 0, 1}, 0);
    Tensor dx = Tensor::empty(like, dy.dtype(), dy.device());
    auto [k, stream] = kernels::on(dy.device());
    k.copy(stream, {.x = repeated.view(), .y = dx.reshape(flat).view()});
    g.add(0, dx);
  });
}

Tensor sum_all(const Tensor& x) { return sum(x.reshape({x.numel()}), 0).reshape({1}); }

Tensor mean(const Tensor& x, int axis) { return scale(sum(x, axis), 1.0 / static_cast<double>(x.size(axis))); }

}  // namespace mara::ops
