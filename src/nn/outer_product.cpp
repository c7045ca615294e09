#include "nn/outer_product.h"

#include "ops/elementwise.h"
#include "ops/shape_ops.h"

namespace mara::nn {

Tensor outer_product_heads(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
                           const GatedConvolution& convolve) {
  const int64_t size = v.size(0) / heads, batch = v.size(1), length = v.size(2);
  const Shape rows{heads, size * batch, length};
  const auto entry = [&](const Tensor& x, int64_t i) {
    if (size == 1) return x;
    const Tensor one = ops::slice(x.reshape({heads, size, batch * length}), 1, i, 1);
    return ops::contiguous(ops::expand(one, 1, size)).reshape(rows);
  };
  Tensor o;
  for (int64_t i = 0; i < size; ++i) {
    const Tensor read = convolve(i, v.reshape(rows), entry(k, i), entry(q, i));
    o = o.defined() ? ops::add(o, read) : read;
  }
  return o.reshape(v.shape());
}

}  // namespace mara::nn
