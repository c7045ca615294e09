#pragma once
// The rows of a tensor (D, B, L) in its storage type.

#include "kernels/cuda/device.cuh"

namespace mara::kernels::cuda {

/// Data is null for an absent tensor.
template <class T>
struct ChannelRows {
  T* data = nullptr;
  int64_t channel = 0, batch = 0;  // strides

  ChannelRows() = default;
  explicit ChannelRows(const View& view) {
    if (view) data = view.ptr<T>(), channel = view.stride[0], batch = view.stride[1];
  }
  /// Whether `count` neighbours can be accessed at once, from multiples of `count` on.
  bool takes(int count) const {
    return aligned(count * static_cast<int>(sizeof(T)), data) && channel % count == 0 && batch % count == 0;
  }
  __device__ T* at(int64_t d, int64_t b) const { return data + d * channel + b * batch; }
};

/// Whether the bf16 rows of all tensors that are present can be accessed 16 bytes at a time.
template <class... Views>
bool all_take_16_bytes(const Views&... rows) {
  return (ChannelRows<const bfloat16>(rows).takes(8) && ...);
}

}  // namespace mara::kernels::cuda
