#include "ops/dropout.h"

#include "core/random.h"
#include "kernels/kernels.h"
#include "ops/grad_target.h"

namespace mara::ops {

Tensor dropout(const Tensor& x, double p) {
  MARA_CHECK(p >= 0 && p < 1, "dropout: a probability in [0, 1) is required, got ", p);
  if (p == 0) return x;
  MARA_CHECK(x.contiguous() && is_float(x.dtype()), "dropout: a contiguous f32, bf16 or f64 tensor is required");
  RandomStream& random = random_stream();
  const kernels::Dropout mask{
      .p = static_cast<float>(p), .seed = random.seed, .step = random.step, .op = random.next_op++};
  Tensor y = Tensor::empty_like(x);
  const auto apply = [mask](const Tensor& from, const View& to) {
    kernels::Dropout args = mask;
    args.x = from.view();
    args.y = to;
    auto [k, stream] = kernels::on(from.device());
    k.dropout(stream, args);
  };
  apply(x, y.view());
  return record("dropout", {x}, y, [apply](const Tensor& dy, Grads& g) {
    GradTarget dx(g, 0, dy);
    apply(dy, dx.view());
    dx.commit();
  });
}

}  // namespace mara::ops
