#include "ops/norm.h"

#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/grad_target.h"

namespace mara::ops {
namespace {

Tensor rows(const Tensor& x) { return x.reshape({x.numel() / x.size(-1), x.size(-1)}); }

void check_input(const char* op, const Tensor& x) {
  MARA_CHECK(x.defined() && x.rank() >= 1 && is_float(x.dtype()) && x.contiguous(), op,
             ": a contiguous f32, bf16 or f64 tensor (..., D) is required");
}

void check_vector(const char* op, const char* name, const Tensor& vector, const Tensor& x) {
  MARA_CHECK(vector.rank() == 1 && vector.size(0) == x.size(-1) && vector.contiguous() &&
                 vector.dtype() == compute_dtype(x.dtype()),
             op, ": ", name, " must be (", x.size(-1), ") ", compute_dtype(x.dtype()), ", got ", vector.shape(), " ",
             vector.dtype());
}

void check_branch(const char* op, const Tensor& x, const Tensor& branch) {
  MARA_CHECK(branch.shape() == x.shape() && is_float(branch.dtype()) && branch.contiguous(), op,
             ": branch must be contiguous floating ", x.shape(), ", got ", branch.shape(), " ", branch.dtype());
}

// An optional tensor as rows.
View row_view(const Tensor& x) { return x.defined() ? rows(x).view() : View{}; }

View row_view(View v, const Tensor& like) {
  v.shape = like.shape();
  v.stride = like.strides();
  return v;
}

// What is normalised: x, or a new tensor that the kernel writes x + branch to.
Tensor stream_after(const Tensor& x, const Tensor& branch) { return branch.defined() ? Tensor::empty_like(x) : x; }

// Without a branch the sum is x.
SumAndNorm run_layer_norm(const char* op, const Tensor& x, const Tensor& branch, const Tensor& gain, const Tensor& bias,
                          double eps, Dtype out) {
  check_input(op, x);
  check_vector(op, "gain", gain, x);
  check_vector(op, "bias", bias, x);
  Tensor sum = stream_after(x, branch);
  const Tensor flat = rows(sum).detach();
  Tensor y = Tensor::empty(x.shape(), out, x.device());
  Tensor mean = Tensor::empty({flat.size(0)}, compute_dtype(x.dtype()), x.device());
  Tensor rstd = Tensor::empty_like(mean);
  auto [k, stream] = kernels::on(x.device());
  k.layer_norm_forward(stream, {.x = row_view(x),
                                .gain = gain.view(),
                                .bias = bias.view(),
                                .y = row_view(y),
                                .mean = mean.view(),
                                .rstd = rstd.view(),
                                .eps = eps,
                                .branch = row_view(branch),
                                .sum = branch.defined() ? flat.view() : View{}});
  if (branch.defined()) sum = record_add(x, branch, sum);
  y = record("layer_norm", {sum, gain, bias}, y, [=](const Tensor& dy, Grads& g) {
    GradTarget dx(g, 0, sum, GradTarget::overwrites_or_adds);
    const Grads::Slot dgain = slot_if_wanted(g, 1, gain), dbias = slot_if_wanted(g, 2, bias);
    auto [k, stream] = kernels::on(sum.device());
    k.layer_norm_backward(stream, {.dy = row_view(dy),
                                   .x = flat.view(),
                                   .gain = gain.view(),
                                   .mean = mean.view(),
                                   .rstd = rstd.view(),
                                   .dx = row_view(dx.view(), flat),
                                   .dgain = dgain.dst,
                                   .dbias = dbias.dst,
                                   .accumulate_gain = dgain.accumulate,
                                   .accumulate_bias = dbias.accumulate,
                                   .accumulate_x = dx.accumulate()});
    dx.commit();
  });
  return {sum, y};
}

SumAndNorm run_rms_norm(const char* op, const Tensor& x, const Tensor& branch, const Tensor& gain, double eps,
                        Dtype out) {
  check_input(op, x);
  if (gain.defined()) check_vector(op, "gain", gain, x);
  Tensor sum = stream_after(x, branch);
  const Tensor flat = rows(sum).detach();
  Tensor y = Tensor::empty(x.shape(), out, x.device());
  Tensor rstd = Tensor::empty({flat.size(0)}, compute_dtype(x.dtype()), x.device());
  auto [k, stream] = kernels::on(x.device());
  k.rms_norm_forward(stream, {.x = row_view(x),
                              .gain = gain.view(),
                              .y = row_view(y),
                              .rstd = rstd.view(),
                              .eps = eps,
                              .branch = row_view(branch),
                              .sum = branch.defined() ? flat.view() : View{}});
  if (branch.defined()) sum = record_add(x, branch, sum);
  y = record("rms_norm", {sum, gain}, y, [=](const Tensor& dy, Grads& g) {
    GradTarget dx(g, 0, sum, GradTarget::overwrites_or_adds);
    const Grads::Slot dgain = slot_if_wanted(g, 1, gain);
    auto [k, stream] = kernels::on(sum.device());
    k.rms_norm_backward(stream, {.dy = row_view(dy),
                                 .x = flat.view(),
                                 .gain = gain.view(),
                                 .rstd = rstd.view(),
                                 .dx = row_view(dx.view(), flat),
                                 .dgain = dgain.dst,
                                 .accumulate_gain = dgain.accumulate,
                                 .accumulate_x = dx.accumulate()});
    dx.commit();
  });
  return {sum, y};
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps, Dtype out) {
  return run_layer_norm("layer_norm", x, {}, gain, bias, eps, out).normed;
}

Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps, Dtype out) {
  return run_rms_norm("rms_norm", x, {}, gain, eps, out).normed;
}

SumAndNorm add_layer_norm(const Tensor& x, const Tensor& branch, const Tensor& gain, const Tensor& bias, double eps,
                          Dtype out) {
  check_branch("add_layer_norm", x, branch);
  return run_layer_norm("add_layer_norm", x, branch, gain, bias, eps, out);
}

SumAndNorm add_rms_norm(const Tensor& x, const Tensor& branch, const Tensor& gain, double eps, Dtype out) {
  check_branch("add_rms_norm", x, branch);
  return run_rms_norm("add_rms_norm", x, branch, gain, eps, out);
}

Tensor softmax(const Tensor& x) {
  check_input("softmax", x);
  Tensor y = Tensor::empty_like(x);
  auto [k, stream] = kernels::on(x.device());
  k.softmax_forward(stream, {.x = rows(x).view(), .y = rows(y).view()});
  return record("softmax", {x}, y, [y](const Tensor& dy, Grads& g) {
    Tensor dx = Tensor::empty_like(y);
    auto [k, stream] = kernels::on(y.device());
    k.softmax_backward(stream, {.y = rows(y).view(), .dy = rows(dy).view(), .dx = rows(dx).view()});
    g.add(0, dx);
  });
}

}  // namespace mara::ops
