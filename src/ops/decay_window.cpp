#include "ops/decay_window.h"

#include "kernels/kernels.h"
#include "ops/grad_target.h"

namespace mara::ops {

Tensor decay_window(const Tensor& x, const Tensor& rate, const Tensor& time, double shift) {
  MARA_CHECK(x.rank() == 2 && x.contiguous() && (x.dtype() == Dtype::f32 || x.dtype() == Dtype::f64),
             "decay_window: x must be contiguous (D, L) f32 or f64, got ", x.shape(), " ", x.dtype());
  const auto check = [&](const char* name, const Tensor& t, int64_t size) {
    MARA_CHECK(t.shape() == Shape{size} && t.dtype() == x.dtype() && t.contiguous(), "decay_window: ", name,
               " must be contiguous (", size, ") ", x.dtype(), ", got ", t.shape(), " ", t.dtype());
  };
  check("rate", rate, x.size(0));
  check("time", time, x.size(1));
  Tensor y = Tensor::empty_like(x);
  auto [k, stream] = kernels::on(x.device());
  k.decay_window(stream, {.x = x.view(), .rate = rate.view(), .time = time.view(), .y = y.view(), .shift = shift});
  return record("decay_window", {x, rate}, y, [=](const Tensor& dy, Grads& g) {
    auto [k, stream] = kernels::on(x.device());
    GradTarget dx(g, 0, x);
    const Grads::Slot drate = slot_if_wanted(g, 1, rate);
    if (dx.view()) {
      k.decay_window(stream,
                     {.x = dy.view(), .rate = rate.view(), .time = time.view(), .y = dx.view(), .shift = shift});
    }
    if (drate.dst) {
      k.decay_window_rate(stream, {.dy = dy.view(),
                                   .x = x.view(),
                                   .rate = rate.view(),
                                   .time = time.view(),
                                   .drate = drate.dst,
                                   .accumulate = drate.accumulate});
    }
    dx.commit();
  });
}

}  // namespace mara::ops
