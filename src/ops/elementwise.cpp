#include "ops/elementwise.h"

#include "kernels/kernels.h"
#include "ops/grad_target.h"

namespace mara::ops {
namespace {

void check_operand(const char* op, const Tensor& x) {
  MARA_CHECK(x.defined() && is_float(x.dtype()) && x.contiguous(), op,
             ": a contiguous f32, bf16 or f64 tensor is required; call contiguous() or cast() first");
}

void check_broadcast(const char* op, const Tensor& a, const Tensor& b) {
  check_operand(op, a);
  check_operand(op, b);
  bool suffix = b.rank() <= a.rank();
  for (int i = 1; suffix && i <= b.rank(); ++i) suffix = a.size(-i) == b.size(-i);
  MARA_CHECK(suffix, op, ": the second shape must equal the first or be a suffix of it, got ", a.shape(), " and ",
             b.shape());
}

// Adds to the gradient of b the sum of `gradient` (shape of a) over the axes b was broadcast over.
void add_broadcast_grad(Grads& grads, int input, const Tensor& gradient, const Shape& b_shape) {
  if (gradient.shape() == b_shape) return grads.add(input, gradient);
  const int64_t inner = b_shape.numel();
  const Grads::Slot slot = grads.slot(input);
  View flat = slot.dst;
  flat.shape = {1, inner};
  flat.stride = contiguous_strides(flat.shape);
  auto [k, stream] = kernels::on(gradient.device());
  k.reduce_sum(
      stream,
      {.x = gradient.reshape({1, gradient.numel() / inner, inner}).view(), .y = flat, .accumulate = slot.accumulate});
}

Tensor product(const Tensor& a, const Tensor& b) {
  Tensor y = Tensor::empty_like(a);
  auto [k, stream] = kernels::on(a.device());
  k.mul(stream, {.a = a.view(), .b = b.view(), .y = y.view()});
  return y;
}

}  // namespace

Tensor unary(Unary function, const Tensor& x) {
  check_operand("unary", x);
  Tensor y = Tensor::empty_like(x);
  auto [k, stream] = kernels::on(x.device());
  k.unary_forward(stream, {.function = function, .x = x.view(), .y = y.view()});
  return record("unary", {x}, y, [function, x](const Tensor& dy, Grads& g) {
    GradTarget dx(g, 0, x);
    auto [k, stream] = kernels::on(x.device());
    k.unary_backward(stream, {.function = function, .x = x.view(), .dy = dy.view(), .dx = dx.view()});
    dx.commit();
  });
}

Tensor add(const Tensor& a, const Tensor& b) {
  check_broadcast("add", a, b);
  Tensor y = Tensor::empty_like(a);
  auto [k, stream] = kernels::on(a.device());
  k.add(stream, {.a = a.view(), .b = b.view(), .y = y.view()});
  return record_add(a, b, y);
}

Tensor record_add(const Tensor& a, const Tensor& b, const Tensor& sum) {
  return record("add", {a, b}, sum, [b_shape = b.shape()](const Tensor& dy, Grads& g) {
    if (g.wants(0)) g.add(0, dy);
    if (g.wants(1)) add_broadcast_grad(g, 1, dy, b_shape);
  });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  check_broadcast("mul", a, b);
  return record("mul", {a, b}, product(a, b), [a, b](const Tensor& dy, Grads& g) {
    if (g.wants(0)) g.add(0, product(dy, b));
    if (g.wants(1)) add_broadcast_grad(g, 1, product(dy, a), b.shape());
  });
}

Tensor scale(const Tensor& x, double factor) {
  check_operand("scale", x);
  Tensor y = Tensor::empty_like(x);
  auto [k, stream] = kernels::on(x.device());
  k.scale(stream, {.x = x.view(), .y = y.view(), .factor = factor});
  return record("scale", {x}, y, [factor](const Tensor& dy, Grads& g) {
    GradTarget dx(g, 0, dy);
    auto [k, stream] = kernels::on(dy.device());
    k.scale(stream, {.x = dy.view(), .y = dx.view(), .factor = factor});
    dx.commit();
  });
}

Tensor full(const Shape& shape, double value, Dtype dtype, Device device) {
  const Tensor y = Tensor::empty(shape, dtype, device);
  auto [k, stream] = kernels::on(device);
  k.fill(stream, {.y = y.view(), .value = value});
  return y;
}

Tensor cast(const Tensor& x, Dtype dtype) {
  check_operand("cast", x);
  MARA_CHECK(is_float(dtype), "cast: a floating dtype is required, got ", dtype);
  if (x.dtype() == dtype) return x;
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  auto [k, stream] = kernels::on(x.device());
  k.copy(stream, {.x = x.view(), .y = y.view()});
  return record("cast", {x}, y, [](const Tensor& dy, Grads& g) { g.add(0, dy); });
}

}  // namespace mara::ops
