#include "nn/streaming_conv.h"

#include <numeric>

#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/fft_conv.h"
#include "ops/gather.h"
#include "ops/shape_ops.h"
#include "ops/short_conv.h"

namespace mara::nn {
namespace {

Tensor reversed(const Tensor& taps) {
  std::vector<int32_t> order(static_cast<size_t>(taps.size(1)));
  std::iota(order.rbegin(), order.rend(), 0);
  return ops::gather(taps, 1, Tensor::from(order, {taps.size(1)}, taps.device()));
}

Tensor with_skip(const Tensor& taps, const Tensor& skip) {
  if (!skip.defined()) return taps;
  Tensor out = Tensor::empty_like(taps);
  auto [k, stream] = kernels::on(taps.device());
  k.copy(stream, {.x = taps.view(), .y = out.view()});
  const Tensor column = skip.reshape({taps.size(0), 1});
  k.copy(stream, {.x = column.view(), .y = ops::slice(out, 1, 0, 1).view(), .accumulate = true});
  return out;
}

}  // namespace

Tensor StreamingConv::advance(const Tensor& u, const Tensor& gate_in, const Tensor& gate_out) {
  Tensor x = ops::cast(u, compute_dtype(u.dtype()));
  if (gate_in.defined()) x = ops::mul(x, gate_in);
  Tensor y = convolve(x);
  if (gate_out.defined()) y = ops::mul(y, gate_out);
  return ops::cast(y, u.dtype());
}

RecentInputs::RecentInputs(const Tensor& before, int64_t batch, int64_t count)
    : inputs_(Tensor::empty({before.size(0), batch, count}, before.dtype(), before.device())) {
  auto [k, stream] = kernels::on(before.device());
  k.copy(stream, {.x = before.strided(inputs_.shape(), {1, 0, 0}, 0).view(), .y = inputs_.view()});
}

Tensor RecentInputs::followed_by(const Tensor& u) {
  const Tensor all = ops::concat({inputs_, u}, 2);
  inputs_ = ops::contiguous(ops::slice(all, 2, u.size(2), count()));
  return all;
}

// What stands before the sequence must be zero with the input bias added.
StreamingShortConv::StreamingShortConv(const Tensor& weight, const Tensor& bias, const Tensor& input_bias,
                                       int64_t batch)
    : weight_(weight),
      bias_(bias),
      input_bias_(input_bias),
      inputs_(ops::scale(input_bias, -1), batch, weight.size(1) - 1) {}

Tensor StreamingShortConv::advance(const Tensor& u) {
  const Tensor all = ops::short_conv(inputs_.followed_by(ops::cast(u, weight_.dtype())), weight_, bias_, input_bias_);
  return ops::cast(ops::contiguous(ops::slice(all, 2, inputs_.count(), u.size(2))), u.dtype());
}

StreamingTaps::StreamingTaps(const Tensor& taps, const Tensor& skip)
    : forward_(with_skip(taps, skip)), reversed_(reversed(forward_)) {}

Tensor StreamingTaps::last_outputs(const Tensor& inputs, int64_t count) const {
  const int64_t length = inputs.size(2), taps = this->count();
  if (count > 1) {
    const Tensor all = ops::fft_conv(ops::contiguous(inputs), forward_);
    return ops::contiguous(ops::slice(all, 2, length - count, count));
  }
  // A product per channel of the inputs so far and as many reversed taps.
  const Tensor column = reversed_.strided({channels(), length, 1}, {taps, 1, 1}, taps - length);
  Tensor c = Tensor::empty({channels(), inputs.size(1), 1}, inputs.dtype(), inputs.device());
  auto [k, stream] = kernels::on(inputs.device());
  k.matmul(stream, {.a = inputs.view(), .b = column.view(), .c = c.view()});
  return c;
}

WindowConv::WindowConv(const Tensor& taps, const Tensor& skip, int64_t batch)
    : taps_(taps, skip), inputs_(ops::full({taps.size(0)}, 0, taps.dtype(), taps.device()), batch, taps.size(1) - 1) {}

Tensor HistoryConv::convolve(const Tensor& u) {
  inputs_.append(u);
  return taps_.last_outputs(inputs_.seen(), u.size(2));
}

}  // namespace mara::nn
