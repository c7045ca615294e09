#include "ops/matmul.h"

#include "kernels/common/matrices.h"
#include "kernels/kernels.h"
#include "ops/grad_target.h"

namespace mara::ops {
namespace {

using kernels::transposed;

// A matrix (rows, columns) over contiguous data, as a batch of one.
View matrix(const View& v, int64_t rows, int64_t columns) {
  return kernels::matrix(v.data, v.dtype, rows, columns, columns);
}

View batch_view(const Tensor& x) {
  View v = x.view();
  if (x.rank() == 2) return matrix(v, x.size(0), x.size(1));
  return v;
}

struct Bias {
  View row, col;
};

void multiply(Device device, const View& a, const View& b, const View& c, bool accumulate, const Bias& bias = {}) {
  auto [k, stream] = kernels::on(device);
  k.matmul(stream, {.a = a, .b = b, .c = c, .row_bias = bias.row, .col_bias = bias.col, .accumulate = accumulate});
}

// The gradient of an input as a product of two views, written or accumulated where it lives.
void multiply_into(Grads& g, int input, const Tensor& value, const View& a, const View& b) {
  if (!g.wants(input)) return;
  const Grads::Slot slot = g.slot(input);
  View c = slot.dst;
  c.shape = {a.size(0), a.size(1), b.size(2)};
  c.stride = contiguous_strides(c.shape);
  multiply(value.device(), a, b, c, slot.accumulate);
}

void check_linear(const char* op, const Tensor& x, int64_t width, const Tensor& weight, const Tensor& bias) {
  MARA_CHECK(x.contiguous() && weight.rank() == 2 && weight.contiguous() && weight.size(1) == width, op,
             ": weight must be (E, ", width, ") for an input ", x.shape(), ", got ", weight.shape());
  MARA_CHECK(weight.dtype() == x.dtype() && is_float(x.dtype()), op,
             ": weight and input must have one floating dtype, got ", weight.dtype(), " and ", x.dtype());
  const Dtype wide = compute_dtype(x.dtype());
  MARA_CHECK(!bias.defined() || (bias.shape() == Shape{weight.size(0)} && bias.contiguous() && bias.dtype() == wide),
             op, ": bias must be (", weight.size(0), ") ", wide, ", got ", bias.shape(), " ", bias.dtype());
}

// Sums a gradient viewed as (outer, n, inner) over n into the bias of shape (outer * inner).
void add_bias_grad(Grads& g, int input, const Tensor& bias, const Tensor& dy, const Shape& outer_n_inner) {
  const Grads::Slot slot = slot_if_wanted(g, input, bias);
  if (!slot.dst) return;
  View y = slot.dst;
  y.shape = {outer_n_inner[0], outer_n_inner[2]};
  y.stride = contiguous_strides(y.shape);
  auto [k, stream] = kernels::on(dy.device());
  k.reduce_sum(stream, {.x = dy.reshape(outer_n_inner).view(), .y = y, .accumulate = slot.accumulate});
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, Transpose transpose) {
  MARA_CHECK(a.rank() >= 2 && b.rank() >= 2 && a.contiguous() && b.contiguous(),
             "matmul: contiguous tensors of at least two axes are required, got ", a.shape(), " and ", b.shape());
  if (b.rank() == 2 && a.rank() > 2) {
    MARA_CHECK(!transpose.a, "matmul: a batch times one matrix needs a untransposed first factor");
    Shape out = a.shape();
    out[a.rank() - 1] = transpose.b ? b.size(0) : b.size(1);
    return matmul(a.reshape({a.numel() / a.size(-1), a.size(-1)}), b, transpose).reshape(out);
  }
  MARA_CHECK(a.rank() == b.rank() && a.rank() <= 3 && (a.rank() == 2 || a.size(0) == b.size(0)),
             "matmul: one matrix each, or two batches of the same size, is required, got ", a.shape(), " and ",
             b.shape());
  MARA_CHECK(a.dtype() == b.dtype() && is_float(a.dtype()), "matmul: factors must have one floating dtype, got ",
             a.dtype(), " and ", b.dtype());
  const View left = transpose.a ? transposed(batch_view(a)) : batch_view(a);
  const View right = transpose.b ? transposed(batch_view(b)) : batch_view(b);
  MARA_CHECK(left.size(2) == right.size(1), "matmul: inner sizes ", left.size(2), " and ", right.size(1), " differ (",
             a.shape(), transpose.a ? "^T" : "", " times ", b.shape(), transpose.b ? "^T" : "", ")");
  Shape out = a.shape();
  out[a.rank() - 2] = left.size(1);
  out[a.rank() - 1] = right.size(2);
  Tensor c = Tensor::empty(out, a.dtype(), a.device());
  multiply(a.device(), left, right, batch_view(c), false);
  return record("matmul", {a, b}, c, [a, b, left, right, transpose](const Tensor& dc, Grads& g) {
    const View d = batch_view(dc);
    if (transpose.a) {
      multiply_into(g, 0, a, right, transposed(d));
    } else {
      multiply_into(g, 0, a, d, transposed(right));
    }
    if (transpose.b) {
      multiply_into(g, 1, b, transposed(d), left);
    } else {
      multiply_into(g, 1, b, transposed(left), d);
    }
  });
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const int64_t width = x.size(-1);
  MARA_CHECK(width > 0, "linear: an input with at least one feature is required, got ", x.shape());
  check_linear("linear", x, width, weight, bias);
  const int64_t out_width = weight.size(0), rows = x.numel() / width;
  Shape shape = x.shape();
  shape[x.rank() - 1] = out_width;
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  multiply(x.device(), matrix(x.view(), rows, width), transposed(matrix(weight.view(), out_width, width)),
           matrix(y.view(), rows, out_width), false, {.col = bias.view()});
  return record("linear", {x, weight, bias}, y, [=](const Tensor& dy, Grads& g) {
    const View d = matrix(dy.view(), rows, out_width);
    multiply_into(g, 0, x, d, matrix(weight.view(), out_width, width));
    multiply_into(g, 1, weight, transposed(d), matrix(x.view(), rows, width));
    add_bias_grad(g, 2, bias, dy, {1, rows, out_width});
  });
}

Tensor mlp(const Tensor& x, const Tensor& in, const Tensor& in_bias, const Tensor& out, const Tensor& out_bias,
           kernels::Unary function) {
  using kernels::Epilogue;
  const int64_t width = x.size(-1), hidden_width = in.size(0), out_width = out.size(0);
  MARA_CHECK(width > 0 && hidden_width > 0,
             "mlp: an input and a hidden layer with at least one feature are required, got ", x.shape(), " and ",
             in.shape());
  check_linear("mlp", x, width, in, in_bias);
  Shape shape = x.shape();
  shape[x.rank() - 1] = hidden_width;
  const Tensor hidden = Tensor::empty(shape, x.dtype(), x.device());
  check_linear("mlp", hidden, hidden_width, out, out_bias);
  shape[x.rank() - 1] = out_width;
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  const Tensor pre = will_record({x, in, in_bias, out, out_bias}) ? Tensor::empty_like(hidden) : Tensor();

  const int64_t rows = x.numel() / width;
  const View w1 = matrix(in.view(), hidden_width, width), w2 = matrix(out.view(), out_width, hidden_width);
  const auto of_rows = [rows](const Tensor& t) { return matrix(t.view(), rows, t.size(-1)); };
  auto [k, stream] = kernels::on(x.device());
  k.matmul(stream, {.a = of_rows(x),
                    .b = transposed(w1),
                    .c = of_rows(hidden),
                    .col_bias = in_bias.view(),
                    .epilogue = Epilogue::activation,
                    .function = function,
                    .pre = pre.defined() ? of_rows(pre) : View()});
  multiply(x.device(), of_rows(hidden), transposed(w2), of_rows(y), false, {.col = out_bias.view()});
  return record("mlp", {x, in, in_bias, out, out_bias}, y, [=](const Tensor& dy, Grads& g) {
    const View d = of_rows(dy);
    multiply_into(g, 3, out, transposed(d), of_rows(hidden));
    add_bias_grad(g, 4, out_bias, dy, {1, rows, out_width});
    if (!g.wants(0) && !g.wants(1) && !g.wants(2)) return;
    const Tensor dpre = Tensor::empty_like(pre);
    auto [k, stream] = kernels::on(x.device());
    k.matmul(stream, {.a = d,
                      .b = w2,
                      .c = of_rows(dpre),
                      .epilogue = Epilogue::activation_gradient,
                      .function = function,
                      .pre = of_rows(pre)});
    multiply_into(g, 0, x, of_rows(dpre), w1);
    multiply_into(g, 1, in, transposed(of_rows(dpre)), of_rows(x));
    add_bias_grad(g, 2, in_bias, dpre, {1, rows, hidden_width});
  });
}

Tensor linear_to_channels(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  MARA_CHECK(x.rank() == 3, "linear_to_channels: input must be (B, L, D), got ", x.shape());
  const int64_t width = x.size(2), channels = weight.size(0), rows = x.size(0) * x.size(1);
  check_linear("linear_to_channels", x, width, weight, bias);
  Tensor y = Tensor::empty({channels, x.size(0), x.size(1)}, x.dtype(), x.device());
  multiply(x.device(), matrix(weight.view(), channels, width), transposed(matrix(x.view(), rows, width)),
           matrix(y.view(), channels, rows), false, {.row = bias.view()});
  return record("linear_to_channels", {x, weight, bias}, y, [=](const Tensor& dy, Grads& g) {
    const View d = matrix(dy.view(), channels, rows);
    multiply_into(g, 0, x, transposed(d), matrix(weight.view(), channels, width));
    multiply_into(g, 1, weight, d, matrix(x.view(), rows, width));
    add_bias_grad(g, 2, bias, dy, {channels, rows, 1});
  });
}

Tensor linear_from_channels(const Tensor& u, const Tensor& weight, const Tensor& bias) {
  MARA_CHECK(u.rank() == 3, "linear_from_channels: input must be (D, B, L), got ", u.shape());
  const int64_t channels = u.size(0), out_width = weight.size(0), rows = u.size(1) * u.size(2);
  check_linear("linear_from_channels", u, channels, weight, bias);
  Tensor y = Tensor::empty({u.size(1), u.size(2), out_width}, u.dtype(), u.device());
  multiply(u.device(), transposed(matrix(u.view(), channels, rows)),
           transposed(matrix(weight.view(), out_width, channels)), matrix(y.view(), rows, out_width), false,
           {.col = bias.view()});
  return record("linear_from_channels", {u, weight, bias}, y, [=](const Tensor& dy, Grads& g) {
    const View d = matrix(dy.view(), rows, out_width);
    multiply_into(g, 0, u, transposed(matrix(weight.view(), out_width, channels)), transposed(d));
    multiply_into(g, 1, weight, transposed(d), transposed(matrix(u.view(), channels, rows)));
    add_bias_grad(g, 2, bias, dy, {1, rows, out_width});
  });
}

}  // namespace mara::ops
