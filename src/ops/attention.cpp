#include "ops/attention.h"

#include <cmath>

#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/grad_target.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/shape_ops.h"

namespace mara::ops {
namespace {

int64_t head_size(const char* op, const Tensor& qkv, int64_t heads) {
  MARA_CHECK(qkv.rank() == 3 && qkv.contiguous() && is_float(qkv.dtype()), op,
             ": packed queries, keys and values (B, L, 3 H C) are required, got ", qkv.shape());
  MARA_CHECK(heads >= 1 && qkv.size(2) % (3 * heads) == 0, op, ": the packed width ", qkv.size(2),
             " must be 3 * heads * head size, heads is ", heads);
  return qkv.size(2) / (3 * heads);
}

}  // namespace

Tensor attention(const Tensor& qkv, int64_t heads, bool causal) {
  const int64_t size = head_size("attention", qkv, heads);
  const double scale = 1.0 / std::sqrt(static_cast<double>(size));
  Tensor o = Tensor::empty({qkv.size(0), qkv.size(1), heads * size}, qkv.dtype(), qkv.device());
  Tensor lse = Tensor::empty({qkv.size(0), heads, qkv.size(1)}, compute_dtype(qkv.dtype()), qkv.device());
  auto [k, stream] = kernels::on(qkv.device());
  k.attention_forward(
      stream, {.qkv = qkv.view(), .o = o.view(), .lse = lse.view(), .heads = heads, .scale = scale, .causal = causal});
  return record("attention", {qkv}, o, [=](const Tensor& dy, Grads& g) {
    GradTarget dqkv(g, 0, qkv);
    auto [k, stream] = kernels::on(qkv.device());
    k.attention_backward(stream, {.d_o = dy.view(),
                                  .qkv = qkv.view(),
                                  .o = o.view(),
                                  .lse = lse.view(),
                                  .dqkv = dqkv.view(),
                                  .heads = heads,
                                  .scale = scale,
                                  .causal = causal});
    dqkv.commit();
  });
}

Tensor attention_composed(const Tensor& qkv, int64_t heads, bool causal) {
  const int64_t size = head_size("attention", qkv, heads), batch = qkv.size(0), length = qkv.size(1);
  const auto part = [&](int64_t which) {
    const Tensor rows = contiguous(slice(qkv, 2, which * heads * size, heads * size));
    return contiguous(permute(rows.reshape({batch, length, heads, size}), {0, 2, 1, 3}))
        .reshape({batch * heads, length, size});
  };
  Tensor scores = scale(matmul(part(0), part(1), {.b = true}), 1.0 / std::sqrt(static_cast<double>(size)));
  if (causal) {
    std::vector<double> hidden(static_cast<size_t>(length * length), 0.0);
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t j = i + 1; j < length; ++j) hidden[static_cast<size_t>(i * length + j)] = -1e30;
    }
    scores = add(scores, Tensor::from(hidden, {length, length}, qkv.dtype(), qkv.device()));
  }
  const Tensor mixed = matmul(softmax(scores), part(2)).reshape({batch, heads, length, size});
  return contiguous(permute(mixed, {0, 2, 1, 3})).reshape({batch, length, heads * size});
}

Tensor rotary(const Tensor& qkv, int64_t heads, int64_t rotary_dim, double base, int64_t first) {
  const int64_t size = head_size("rotary", qkv, heads);
  MARA_CHECK(rotary_dim >= 2 && rotary_dim % 2 == 0 && rotary_dim <= size,
             "rotary: an even number of rotated entries up to the head size ", size, " is required, got ", rotary_dim);
  kernels::Rotary args{.heads = heads, .rotary_dim = rotary_dim, .base = base, .first_position = first};
  Tensor y = Tensor::empty_like(qkv);
  args.x = qkv.view();
  args.y = y.view();
  auto [k, stream] = kernels::on(qkv.device());
  k.rotary(stream, args);
  return record("rotary", {qkv}, y, [args](const Tensor& dy, Grads& g) mutable {
    GradTarget dx(g, 0, dy);
    args.x = dy.view();
    args.y = dx.view();
    args.inverse = true;
    auto [k, stream] = kernels::on(dy.device());
    k.rotary(stream, args);
    dx.commit();
  });
}

}  // namespace mara::ops
