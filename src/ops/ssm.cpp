#include "ops/ssm.h"

#include <bit>

#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/fft_conv.h"
#include "ops/grad_target.h"
#include "ops/shape_ops.h"

namespace mara::ops {
namespace {

void check_tensor(const char* op, const char* name, const Tensor& x, const Shape& shape, Dtype dtype) {
  MARA_CHECK(x.defined() && x.shape() == shape && x.dtype() == dtype && x.contiguous(), op, ": ", name,
             " must be contiguous ", shape, " ", dtype, ", got ", x.shape(), " ", x.dtype());
}

void check_system(const char* op, const SsmParameters& p, int64_t length) {
  MARA_CHECK(p.log_dt.rank() == 1 && p.log_dt.numel() > 0 && p.log_decay.rank() == 2 && p.log_decay.numel() > 0 &&
                 p.c.rank() == 3,
             op, ": log_dt (H), log_decay (S, M) and c (R, M, 2) are required, got ", p.log_dt.shape(), ", ",
             p.log_decay.shape(), " and ", p.c.shape());
  const int64_t channels = p.log_dt.size(0), systems = p.log_decay.size(0), modes = p.log_decay.size(1);
  const Dtype dtype = p.log_dt.dtype();
  MARA_CHECK(dtype == Dtype::f32 || dtype == Dtype::f64, op, ": parameters must be f32 or f64, got ", dtype);
  MARA_CHECK(channels % systems == 0 && p.c.size(0) > 0 && p.c.size(0) % channels == 0, op, ": ", systems,
             " systems must divide the channels, ", channels, ", and these the rows of c, ", p.c.size(0));
  check_tensor(op, "log_dt", p.log_dt, {channels}, dtype);
  check_tensor(op, "log_decay", p.log_decay, {systems, modes}, dtype);
  check_tensor(op, "frequency", p.frequency, {systems, modes}, dtype);
  check_tensor(op, "b", p.b, {systems, modes, 2}, dtype);
  check_tensor(op, "c", p.c, {p.c.size(0), modes, 2}, dtype);
  MARA_CHECK(length >= 1 && p.rate > 0, op, ": a positive length and rate are required, got ", length, " and ", p.rate);
}

}  // namespace

Tensor diagonal_ssm_filter(const SsmParameters& p, Discretization discretization, int64_t length) {
  check_system("diagonal_ssm_filter", p, length);
  const Tensor filter = Tensor::empty({p.c.size(0), length}, p.c.dtype(), p.c.device());
  auto [k, stream] = kernels::on(filter.device());
  k.diagonal_ssm_forward(stream, {.log_dt = p.log_dt.view(),
                                  .log_decay = p.log_decay.view(),
                                  .frequency = p.frequency.view(),
                                  .b = p.b.view(),
                                  .c = p.c.view(),
                                  .k = filter.view(),
                                  .discretization = discretization,
                                  .rate = p.rate});
  return record("diagonal_ssm_filter", {p.log_dt, p.log_decay, p.frequency, p.b, p.c}, filter,
                [p, discretization](const Tensor& dk, Grads& g) {
                  const Grads::Slot dlog_dt = slot_if_wanted(g, 0, p.log_dt);
                  const Grads::Slot dlog_decay = slot_if_wanted(g, 1, p.log_decay);
                  const Grads::Slot dfrequency = slot_if_wanted(g, 2, p.frequency);
                  const Grads::Slot db = slot_if_wanted(g, 3, p.b), dc = slot_if_wanted(g, 4, p.c);
                  auto [k, stream] = kernels::on(dk.device());
                  k.diagonal_ssm_backward(stream, {.dk = dk.view(),
                                                   .log_dt = p.log_dt.view(),
                                                   .log_decay = p.log_decay.view(),
                                                   .frequency = p.frequency.view(),
                                                   .b = p.b.view(),
                                                   .c = p.c.view(),
                                                   .dlog_dt = dlog_dt.dst,
                                                   .dlog_decay = dlog_decay.dst,
                                                   .dfrequency = dfrequency.dst,
                                                   .db = db.dst,
                                                   .dc = dc.dst,
                                                   .accumulate_log_dt = dlog_dt.accumulate,
                                                   .accumulate_log_decay = dlog_decay.accumulate,
                                                   .accumulate_frequency = dfrequency.accumulate,
                                                   .accumulate_b = db.accumulate,
                                                   .accumulate_c = dc.accumulate,
                                                   .discretization = discretization,
                                                   .rate = p.rate});
                });
}

Tensor dplr_ssm_filter(const SsmParameters& p, const Tensor& vector, int64_t period, int64_t length) {
  check_system("dplr_ssm_filter", p, length);
  check_tensor("dplr_ssm_filter", "p", vector, p.b.shape(), p.b.dtype());
  MARA_CHECK(period >= 2 && std::has_single_bit(static_cast<uint64_t>(period)) && length <= period,
             "dplr_ssm_filter: the period must be a power of two from 2 and at least the length, got ", period,
             " for a length of ", length);
  const Tensor filter = Tensor::empty({p.c.size(0), length}, p.c.dtype(), p.c.device());
  auto [k, stream] = kernels::on(filter.device());
  k.dplr_ssm_forward(stream, {.log_dt = p.log_dt.view(),
                              .log_decay = p.log_decay.view(),
                              .frequency = p.frequency.view(),
                              .b = p.b.view(),
                              .p = vector.view(),
                              .c = p.c.view(),
                              .k = filter.view(),
                              .period = period,
                              .rate = p.rate});
  return record("dplr_ssm_filter", {p.log_dt, p.log_decay, p.frequency, p.b, p.c, vector}, filter,
                [p, vector, period](const Tensor& dk, Grads& g) {
                  const Grads::Slot dlog_dt = slot_if_wanted(g, 0, p.log_dt);
                  const Grads::Slot dlog_decay = slot_if_wanted(g, 1, p.log_decay);
                  const Grads::Slot dfrequency = slot_if_wanted(g, 2, p.frequency);
                  const Grads::Slot db = slot_if_wanted(g, 3, p.b), dc = slot_if_wanted(g, 4, p.c);
                  const Grads::Slot dp = slot_if_wanted(g, 5, vector);
                  auto [k, stream] = kernels::on(dk.device());
                  k.dplr_ssm_backward(stream, {.dk = dk.view(),
                                               .log_dt = p.log_dt.view(),
                                               .log_decay = p.log_decay.view(),
                                               .frequency = p.frequency.view(),
                                               .b = p.b.view(),
                                               .p = vector.view(),
                                               .c = p.c.view(),
                                               .dlog_dt = dlog_dt.dst,
                                               .dlog_decay = dlog_decay.dst,
                                               .dfrequency = dfrequency.dst,
                                               .db = db.dst,
                                               .dp = dp.dst,
                                               .dc = dc.dst,
                                               .accumulate_log_dt = dlog_dt.accumulate,
                                               .accumulate_log_decay = dlog_decay.accumulate,
                                               .accumulate_frequency = dfrequency.accumulate,
                                               .accumulate_b = db.accumulate,
                                               .accumulate_p = dp.accumulate,
                                               .accumulate_c = dc.accumulate,
                                               .period = period,
                                               .rate = p.rate});
                });
}

Tensor shift_ssm_filter(const Tensor& b, const Tensor& c, int64_t length) {
  MARA_CHECK(b.rank() == 2 && b.contiguous() && b.numel() > 0 && b.dtype() == compute_dtype(b.dtype()),
             "shift_ssm_filter: b must be contiguous (H, N) f32 or f64, got ", b.shape(), " ", b.dtype());
  check_tensor("shift_ssm_filter", "c", c, b.shape(), b.dtype());
  MARA_CHECK(length >= 1, "shift_ssm_filter: a positive length is required, got ", length);
  const int64_t channels = b.size(0), state = b.size(1);
  const auto zeros = [&](int64_t count) { return full({channels, count}, 0, b.dtype(), b.device()); };
  // k[l] = sum_n c[l + n] b[n]: the convolution of c with taps that look ahead.
  const Tensor k = fft_conv(c.reshape({channels, 1, state}), zeros(1), {.reverse = b}).reshape({channels, state});
  if (length == state) return k;
  return length < state ? contiguous(slice(k, 1, 0, length)) : concat({k, zeros(length - state)}, 1);
}

}  // namespace mara::ops
