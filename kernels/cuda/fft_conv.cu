// Long convolution: which way each call goes. The first of a direction's plans that takes the arguments runs them;
// where one ends and the next begins was measured (kernels/README.md).

#include "kernels/cuda/fft_conv_fused.h"
#include "kernels/cuda/fft_conv_general.h"
#include "kernels/cuda/fft_conv_toeplitz.h"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace {

template <class Args>
struct Plan {
  bool (*takes)(const Args&);
  void (*run)(Stream&, const Args&);
};

/// Below this cuFFT's shorter transforms win over one that is padded to 4096 points.
constexpr int64_t kShortestFused = 768;

/// Toeplitz products come in tiles of 64 rows, and their work on whole sequences grows with the square of the length:
/// with fewer rows than these they win on short sequences alone.
constexpr int64_t kFewestToeplitzRows = 16, kShortToeplitz = 256, kWholeToeplitz = 1024;

template <class Args>
bool toeplitz_wins(const Args& args) {
  const int64_t batch = args.u.size(1), length = args.u.size(2);
  const bool filled = batch >= kFewestToeplitzRows || length <= kShortToeplitz || length > kWholeToeplitz;
  return filled && toeplitz::takes(args);
}
template <class Args>
bool fused_wins(const Args& args) {
  return args.u.size(2) >= kShortestFused && fused::takes(args);
}
template <class Args>
bool always(const Args&) {
  return true;
}

constexpr Plan<FftConvForward> kForward[] = {
    {toeplitz_wins, toeplitz::forward},
    {fused_wins, fused::forward},
    {always, general::forward},
};
constexpr Plan<FftConvBackward> kBackward[] = {
    {toeplitz_wins, toeplitz::backward},
    {fused_wins, fused::backward},
    {always, general::backward},
};

template <class Args, size_t N>
void run_first(const Plan<Args> (&plans)[N], Stream& stream, const Args& args) {
  for (const Plan<Args>& plan : plans) {
    if (plan.takes(args)) return plan.run(stream, args);
  }
}

}  // namespace

void fft_conv_forward(Stream& stream, const FftConvForward& args) { run_first(kForward, stream, args); }
void fft_conv_backward(Stream& stream, const FftConvBackward& args) { run_first(kBackward, stream, args); }

}  // namespace mara::kernels::cuda
