#include <algorithm>

#include "kernels/cuda/channel_rows.cuh"
#include "kernels/cuda/complex_tile.cuh"
#include "kernels/cuda/fft_conv_fused.h"

namespace mara::kernels::cuda::fused {
namespace {

constexpr int64_t kLongest = 32768, kLongestTwoSidedBackward = 8192;
/// Causal filters for rows of any length that an int holds with what a step may take beyond.
constexpr int64_t kMostTapsForward = 8192, kMostTapsBackward = 4096, kLongestInChunks = (int64_t{1} << 31) - 65536;

template <class Args>
bool takes_problem(const Args& a, int64_t longest, int64_t longest_two_sided, int64_t most_taps) {
  const bool two_sided = a.form == ConvForm::circular || a.k_reverse;
  const int64_t taps = std::max(a.k.size(1), a.k_reverse ? a.k_reverse.size(1) : 0);
  if (two_sided) longest = longest_two_sided;
  if (!two_sided && taps <= most_taps) longest = kLongestInChunks;
  return code_capability() >= 90 && a.u.dtype == Dtype::bf16 && a.u.numel() > 0 && a.u.size(2) % 8 == 0 &&
         a.u.size(2) <= longest && taps <= kLongestInChunks;
}

}  // namespace

bool takes(const FftConvForward& a) {
  return takes_problem(a, kLongest, kLongest, kMostTapsForward) && all_take_16_bytes(a.u, a.gate_in, a.gate_out, a.y);
}
bool takes(const FftConvBackward& a) {
  return takes_problem(a, kLongest, kLongestTwoSidedBackward, kMostTapsBackward) &&
         all_take_16_bytes(a.dy, a.u, a.gate_in, a.gate_out, a.du, a.dgate_in, a.dgate_out);
}

}  // namespace mara::kernels::cuda::fused
