#include "kernels/cuda/fft_conv_fused.h"

#include <initializer_list>

#include "kernels/cuda/cuda.h"

namespace mara::kernels::cuda::fused {
namespace {

constexpr int64_t kLongestForward = 32768, kLongestBackward = 16384;

/// Whether rows can be copied 16 bytes at a time.
bool takes_rows(std::initializer_list<const View*> all) {
  for (const View* rows : all) {
    if (!*rows) continue;
    const bool aligned = reinterpret_cast<uintptr_t>(rows->data) % 16 == 0;
    if (!aligned || rows->stride[0] % 8 != 0 || rows->stride[1] % 8 != 0) return false;
  }
  return true;
}

template <class Args>
bool takes_problem(const Args& a, int64_t longest) {
  return device_info().capability >= 90 && a.form == ConvForm::causal && !a.k_reverse && a.u.dtype == Dtype::bf16 &&
         a.u.size(2) <= longest && a.u.size(2) % 8 == 0 && a.u.numel() > 0;
}

}  // namespace

bool takes(const FftConvForward& a) {
  return takes_problem(a, kLongestForward) && takes_rows({&a.u, &a.gate_in, &a.gate_out, &a.y});
}
bool takes(const FftConvBackward& a) {
  return takes_problem(a, kLongestBackward) &&
         takes_rows({&a.dy, &a.u, &a.gate_in, &a.gate_out, &a.du, &a.dgate_in, &a.dgate_out});
}

}  // namespace mara::kernels::cuda::fused
