// The Hyena operator: in one kernel where that takes the arguments, or made of its parts. Operands of the short filters
// for the one kernel.

#include "kernels/common/hyena_parts.h"
#include "kernels/cuda/hyena_conv_fused.h"
#include "kernels/cuda/hyena_conv_rows.cuh"
#include "kernels/cuda/short_weight.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

constexpr int64_t kLongestBackward = 4096;
constexpr HyenaParts kParts{short_conv_forward, short_conv_backward, fft_conv_forward, fft_conv_backward};

/// A warp for a channel.
__global__ void __launch_bounds__(128)
    tap_operands(int64_t channels, ShortWeight weight, PerChannel bias, PerChannel input_bias, TapOperands* operands,
                 TapOperands* backwards) {
  const int64_t channel = 4 * static_cast<int64_t>(blockIdx.x) + threadIdx.x / 32;
  if (channel >= channels) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto at_lag = [&](int lag) { return lag >= 0 && lag < weight.taps ? weight.at_lag(channel, lag) : 0.0f; };
  const auto rest = [](float x) { return x - __bfloat162float(__float2bfloat16_rn(x)); };
  float all = 0;
  for (int lag = 0; lag < weight.taps; ++lag) all += at_lag(lag);
  const float shift = input_bias.at_or_zero(channel), start = bias.at_or_zero(channel) + shift * all;
  // value(column, from): what a column of the results takes of another one; those beside begin at `beside`.
  const auto write = [&](TapOperands& to, int first_g, int beside, const auto& value) {
    if (lane < 11) {
      uint32_t high[4], low[4];
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int column = 2 * (lane - 3) + q % 2, from = q / 2 * 8;
        const float a = value(column, from), b = value(column, from + 1);
        high[q] = pack_pair(a, b), low[q] = pack_pair(rest(a), rest(b));
      }
      to.high[lane] = {high[0], high[1], high[2], high[3]}, to.low[lane] = {low[0], low[1], low[2], low[3]};
    }
    if (lane < 12) {
      const int g = first_g + lane / 4, t = lane % 4, from = beside + t % 2 * 2;
      uint32_t pairs[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float a = value(2 * g + j, from), b = value(2 * g + j, from + 1);
        pairs[j] = t < 2 ? pack_pair(a, b) : pack_pair(rest(a), rest(b));
      }
      to.beside[lane / 4][t] = {pairs[0], pairs[1]};
    }
  };
  write(operands[channel], 0, -4, [&](int column, int from) { return from == -4 ? start : at_lag(column - from); });
  if (lane == 0) operands[channel].outside = {0, 0, pack_pair(1, -shift), pack_pair(-shift, -shift)};
  if (backwards != nullptr) {
    write(backwards[channel], 5, 16, [&](int column, int from) { return at_lag(from - column); });
  }
}

template <class Args>
bool in_one_kernel(const Args& a, const View& rows) {
  return !a.composed && code_capability() >= 90 && rows.numel() > 0 &&
         hyena_in_one_kernel(a.z.dtype, rows.size(2), a.short_weight.size(1)) && all_take_16_bytes(a.z, rows);
}

}  // namespace

void make_tap_operands(Stream& stream, const View& weight, const View& bias, const View& input_bias,
                       TapOperands* operands, TapOperands* backwards) {
  const int64_t channels = weight.size(0);
  tap_operands<<<exact_grid(ceil_div(channels, 4)), 128, 0, native(stream)>>>(
      channels, ShortWeight(weight), PerChannel(bias), PerChannel(input_bias), operands, backwards);
  launched("hyena_conv: tap_operands");
}

void hyena_conv_forward(Stream& stream, const HyenaConvForward& args) {
  const bool one = in_one_kernel(args, args.y);
  one ? hyena::forward(stream, args) : compose_hyena(stream, args, kParts);
}
void hyena_conv_backward(Stream& stream, const HyenaConvBackward& args) {
  const bool one =
      in_one_kernel(args, args.dy) && args.dy.size(2) <= kLongestBackward && args.dz && all_take_16_bytes(args.dz);
  one ? hyena::backward(stream, args) : compose_hyena(stream, args, kParts);
}

}  // namespace mara::kernels::cuda
