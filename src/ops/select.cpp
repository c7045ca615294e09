#include "ops/select.h"

#include "kernels/kernels.h"
#include "ops/grad_target.h"

namespace mara::ops {

Tensor select(const Tensor& mask, const Tensor& a, const Tensor& b) {
  MARA_CHECK(a.shape() == b.shape() && a.dtype() == b.dtype() && a.contiguous() && b.contiguous(),
             "select: two contiguous tensors of one shape and dtype are required, got ", a.shape(), " and ", b.shape());
  bool prefix = mask.dtype() == Dtype::i32 && mask.contiguous() && mask.rank() <= a.rank();
  for (int i = 0; prefix && i < mask.rank(); ++i) prefix = mask.size(i) == a.size(i);
  MARA_CHECK(prefix, "select: the mask must be i32 with a shape that is a prefix of ", a.shape(), ", got ",
             mask.shape(), " ", mask.dtype());
  Tensor y = Tensor::empty_like(a);
  auto [k, stream] = kernels::on(a.device());
  k.select(stream, {.mask = mask.view(), .a = a.view(), .b = b.view(), .y = y.view()});
  return record("select", {a, b}, y, [mask](const Tensor& dy, Grads& g) {
    auto [k, stream] = kernels::on(dy.device());
    GradTarget da(g, 0, dy), db(g, 1, dy);
    if (da.view()) k.select(stream, {.mask = mask.view(), .a = dy.view(), .y = da.view()});
    if (db.view()) k.select(stream, {.mask = mask.view(), .b = dy.view(), .y = db.view()});
    da.commit();
    db.commit();
  });
}

}  // namespace mara::ops
