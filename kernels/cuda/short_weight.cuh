#pragma once
// The parameters of short convolutions in device memory.

#include "kernels/cuda/device.cuh"

namespace mara::kernels::cuda {

/// The weights of all channels in the order of the lag.
struct ShortWeight {
  float* data = nullptr;
  int64_t channel = 0, tap = 0;  // strides
  int taps = 0;

  explicit ShortWeight(const View& view) {
    if (!view) return;
    data = view.ptr<float>(), channel = view.stride[0], tap = view.stride[1];
    taps = static_cast<int>(view.size(1));
  }
  __device__ float& at_lag(int64_t d, int lag) const { return data[d * channel + (taps - 1 - lag) * tap]; }
};

/// One number for each channel, or nothing.
struct PerChannel {
  float* data = nullptr;
  int64_t stride = 0;

  explicit PerChannel(const View& view) {
    if (view) data = view.ptr<float>(), stride = view.stride[0];
  }
  __device__ float& at(int64_t d) const { return data[d * stride]; }
  __device__ float at_or_zero(int64_t d) const { return data != nullptr ? at(d) : 0.0f; }
};

}  // namespace mara::kernels::cuda
