// Long convolution: which way each call goes. The first of a direction's plans that takes the arguments runs them,
// or else cuFFT; where one ends and the next begins was measured (kernels/README.md).

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/fft_conv_fused.h"
#include "kernels/cuda/fft_conv_general.h"
#include "kernels/cuda/fft_conv_long.h"
#include "kernels/cuda/fft_conv_toeplitz.h"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

template <class Args>
struct Plan {
  bool (*takes)(const Args&);
  void (*run)(Stream&, const Args&);
};

/// Below this cuFFT's shorter transforms win over one that is padded to 1024 points.
constexpr int64_t kShortestFused = 256;

/// Toeplitz products come in tiles of 64 rows, 32 backward, and their time grows with the length; that of a transform
/// of up to 1024 points is the same for all lengths and grows with the rows. With full tiles the two are even here:
constexpr int64_t kEvenForward = 1140, kEvenForwardGated = 930, kEvenBackward = 720;
/// Where products win with tiles of any filling; beyond the second, as products of pieces with short filters.
constexpr int64_t kShortToeplitz = 256, kWholeToeplitz = 1024;

bool products_win(int64_t rows, int64_t tile, int64_t length, int64_t even) {
  return length <= kShortToeplitz || length > kWholeToeplitz || ceil_div(rows, tile) * tile * length <= rows * even;
}
bool toeplitz_wins(const FftConvForward& args) {
  const int64_t even = args.gate_in || args.gate_out ? kEvenForwardGated : kEvenForward;
  return toeplitz::takes(args) && products_win(args.u.size(1), 64, args.u.size(2), even);
}
bool toeplitz_wins(const FftConvBackward& args) {
  return toeplitz::takes(args) && products_win(args.u.size(1), 32, args.u.size(2), kEvenBackward);
}
template <class Args>
bool fused_wins(const Args& args) {
  return args.u.size(2) >= kShortestFused && fused::takes(args);
}
constexpr Plan<FftConvForward> kForward[] = {
    {toeplitz_wins, toeplitz::forward},
    {fused_wins, fused::forward},
    {long_rows::takes, long_rows::forward},
};
constexpr Plan<FftConvBackward> kBackward[] = {
    {toeplitz_wins, toeplitz::backward},
    {fused_wins, fused::backward},
    {long_rows::takes, long_rows::backward},
};

template <class Args, size_t N>
auto first(const Plan<Args> (&plans)[N], void (*general)(Stream&, const Args&), const Args& args) {
  for (const Plan<Args>& plan : plans) {
    if (!args.general && plan.takes(args)) return plan.run;
  }
  return general;
}

}  // namespace

void fft_conv_forward(Stream& stream, const FftConvForward& args) {
  first(kForward, general::forward, args)(stream, args);
}
void fft_conv_backward(Stream& stream, const FftConvBackward& args) {
  first(kBackward, general::backward, args)(stream, args);
}

}  // namespace mara::kernels::cuda
