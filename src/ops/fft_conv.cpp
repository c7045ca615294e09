#include "ops/fft_conv.h"

#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/gather.h"
#include "ops/grad_target.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/shape_ops.h"

namespace mara::ops {
namespace {

void check_filter(const char* name, const Tensor& filter, const Tensor& u) {
  MARA_CHECK(filter.rank() == 2 && filter.contiguous() && filter.size(1) >= 1, "fft_conv: ", name,
             " must be contiguous (D, K) with at least one tap, got ", filter.shape());
  MARA_CHECK(filter.size(0) == u.size(0), "fft_conv: ", name, " has ", filter.size(0), " channels, u has ", u.size(0),
             "; make one filter per channel of u (D, B, L)");
  MARA_CHECK(filter.dtype() == compute_dtype(u.dtype()), "fft_conv: ", name, " must be ", compute_dtype(u.dtype()),
             " for an input of ", u.dtype(), ", got ", filter.dtype());
}

void check_gate(const char* name, const Tensor& gate, const Tensor& u) {
  MARA_CHECK(gate.shape() == u.shape() && gate.dtype() == u.dtype() && gate.contiguous(), "fft_conv: ", name,
             " must have u's shape ", u.shape(), " and dtype ", u.dtype(), ", got ", gate.shape(), " ", gate.dtype());
}

}  // namespace

Tensor fft_conv(const Tensor& u, const Tensor& filter, const FftConvOptions& options) {
  MARA_CHECK(u.rank() == 3 && u.contiguous() && u.numel() > 0 && is_float(u.dtype()),
             "fft_conv: u must be contiguous floating (D, B, L), got ", u.shape(), " ", u.dtype());
  check_filter("filter", filter, u);
  const auto& [reverse, skip, gate_in, gate_out, form] = options;
  if (reverse.defined()) check_filter("reverse filter", reverse, u);
  MARA_CHECK(!skip.defined() || (skip.shape() == Shape{u.size(0)} && skip.dtype() == filter.dtype()),
             "fft_conv: skip must be (", u.size(0), ") ", filter.dtype(), ", got ", skip.shape(), " ", skip.dtype());
  if (gate_in.defined()) check_gate("gate_in", gate_in, u);
  if (gate_out.defined()) check_gate("gate_out", gate_out, u);

  Tensor y = Tensor::empty_like(u);
  auto [k, stream] = kernels::on(u.device());
  k.fft_conv_forward(stream, {.u = u.view(),
                              .k = filter.view(),
                              .k_reverse = reverse.view(),
                              .skip = skip.view(),
                              .gate_in = gate_in.view(),
                              .gate_out = gate_out.view(),
                              .y = y.view(),
                              .form = form});
  return record("fft_conv", {u, filter, reverse, skip, gate_in, gate_out}, y,
                [u, filter, options](const Tensor& dy, Grads& g) {
                  GradTarget du(g, 0, u), dgate_in(g, 4, options.gate_in), dgate_out(g, 5, options.gate_out);
                  const Grads::Slot dk = slot_if_wanted(g, 1, filter);
                  const Grads::Slot dreverse = slot_if_wanted(g, 2, options.reverse);
                  const Grads::Slot dskip = slot_if_wanted(g, 3, options.skip);
                  auto [k, stream] = kernels::on(u.device());
                  k.fft_conv_backward(stream, {.dy = dy.view(),
                                               .u = u.view(),
                                               .k = filter.view(),
                                               .k_reverse = options.reverse.view(),
                                               .skip = options.skip.view(),
                                               .gate_in = options.gate_in.view(),
                                               .gate_out = options.gate_out.view(),
                                               .du = du.view(),
                                               .dgate_in = dgate_in.view(),
                                               .dgate_out = dgate_out.view(),
                                               .dk = dk.dst,
                                               .dk_reverse = dreverse.dst,
                                               .dskip = dskip.dst,
                                               .accumulate_k = dk.accumulate,
                                               .accumulate_k_reverse = dreverse.accumulate,
                                               .accumulate_skip = dskip.accumulate,
                                               .form = options.form});
                  du.commit();
                  dgate_in.commit();
                  dgate_out.commit();
                });
}

Tensor shifted_by_one(const Tensor& taps) {
  const Tensor zero = full({taps.size(0), 1}, 0, taps.dtype(), taps.device());
  return concat({zero, slice(taps, 1, 0, taps.size(1) - 1)}, 1);
}

Tensor fft_conv_composed(const Tensor& u, const Tensor& filter, const FftConvOptions& options) {
  const int64_t channels = u.size(0), length = u.size(2);
  const Tensor x = options.gate_in.defined() ? mul(u, options.gate_in) : u;
  // The matrix T[d, m, l] = filter[d, l - m] is a gather from the filter with a zero appended (entry K).
  const auto toeplitz = [&](const Tensor& taps, bool reverse) {
    const int64_t count = taps.size(1);
    const Tensor zero = full({channels, 1}, 0, taps.dtype(), taps.device());
    const Tensor padded = concat({taps, zero}, 1);
    Tensor sum;
    const int64_t wraps = options.form == ConvForm::circular ? (count + length - 1) / length : 1;
    for (int64_t wrap = 0; wrap < wraps; ++wrap) {
      std::vector<int32_t> index;
      for (int64_t m = 0; m < length; ++m) {
        for (int64_t l = 0; l < length; ++l) {
          int64_t lag = reverse ? m - l : l - m;
          if (options.form == ConvForm::circular) lag = (lag + length) % length + wrap * length;
          index.push_back(static_cast<int32_t>(lag >= 0 && lag < count ? lag : count));
        }
      }
      const Tensor picked =
          gather(padded, 1, Tensor::from(index, {length * length}, u.device())).reshape({channels, length, length});
      sum = sum.defined() ? add(sum, picked) : picked;
    }
    return sum;
  };
  Tensor matrix = toeplitz(filter, false);
  if (options.reverse.defined()) matrix = add(matrix, toeplitz(options.reverse, true));
  Tensor c = matmul(x, matrix);
  if (options.skip.defined()) {
    const Tensor channels_last = mul(contiguous(permute(x, {1, 2, 0})), options.skip);
    c = add(c, contiguous(permute(channels_last, {2, 0, 1})));
  }
  return options.gate_out.defined() ? mul(c, options.gate_out) : c;
}

}  // namespace mara::ops
