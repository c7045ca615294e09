#include "ops/norm.h"

#include "kernels/kernels.h"
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

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps, Dtype out) {
  check_input("layer_norm", x);
  check_vector("layer_norm", "gain", gain, x);
  check_vector("layer_norm", "bias", bias, x);
  const Tensor flat = rows(x).detach();
  Tensor y = Tensor::empty(x.shape(), out, x.device());
  Tensor mean = Tensor::empty({flat.size(0)}, compute_dtype(x.dtype()), x.device());
  Tensor rstd = Tensor::empty_like(mean);
  auto [k, stream] = kernels::on(x.device());
  k.layer_norm_forward(stream, {.x = flat.view(),
                                .gain = gain.view(),
                                .bias = bias.view(),
                                .y = rows(y).view(),
                                .mean = mean.view(),
                                .rstd = rstd.view(),
                                .eps = eps});
  return record("layer_norm", {x, gain, bias}, y, [=](const Tensor& dy, Grads& g) {
    GradTarget dx(g, 0, x);
    const Grads::Slot dgain = slot_if_wanted(g, 1, gain), dbias = slot_if_wanted(g, 2, bias);
    View dx_rows = dx.view();
    dx_rows.shape = flat.shape();
    dx_rows.stride = flat.strides();
    auto [k, stream] = kernels::on(x.device());
    k.layer_norm_backward(stream, {.dy = rows(dy).view(),
                                   .x = flat.view(),
                                   .gain = gain.view(),
                                   .mean = mean.view(),
                                   .rstd = rstd.view(),
                                   .dx = dx_rows,
                                   .dgain = dgain.dst,
                                   .dbias = dbias.dst,
                                   .accumulate_gain = dgain.accumulate,
                                   .accumulate_bias = dbias.accumulate});
    dx.commit();
  });
}

Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps, Dtype out) {
  check_input("rms_norm", x);
  if (gain.defined()) check_vector("rms_norm", "gain", gain, x);
  const Tensor flat = rows(x).detach();
  Tensor y = Tensor::empty(x.shape(), out, x.device());
  Tensor rstd = Tensor::empty({flat.size(0)}, compute_dtype(x.dtype()), x.device());
  auto [k, stream] = kernels::on(x.device());
  k.rms_norm_forward(stream,
                     {.x = flat.view(), .gain = gain.view(), .y = rows(y).view(), .rstd = rstd.view(), .eps = eps});
  return record("rms_norm", {x, gain}, y, [=](const Tensor& dy, Grads& g) {
    GradTarget dx(g, 0, x);
    const Grads::Slot dgain = slot_if_wanted(g, 1, gain);
    View dx_rows = dx.view();
    dx_rows.shape = flat.shape();
    dx_rows.stride = flat.strides();
    auto [k, stream] = kernels::on(x.device());
    k.rms_norm_backward(stream, {.dy = rows(dy).view(),
                                 .x = flat.view(),
                                 .gain = gain.view(),
                                 .rstd = rstd.view(),
                                 .dx = dx_rows,
                                 .dgain = dgain.dst,
                                 .accumulate_gain = dgain.accumulate});
    dx.commit();
  });
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
