#pragma once
// Long convolutions in one kernel on tensor cores: bf16 data at addresses and strides that are multiples of 16 bytes,
// lengths that are multiples of 8, GPUs of capability 9.0 or later. Lengths: up to 32768, or 8192 backward where the
// convolution is circular or has a reverse filter; any with causal filters of up to 8192 taps forward and 4096
// backward.
//
// fp16 inside with a scale for each row: relative errors of 1e-3 at most before the rounding to bf16, those of the f32
// gradients of filters included. Rows are padded to a power of two from 1024 points on. Work space per channel and
// point: 4 bytes for a filter's spectrum, and backward 8 for the sums, once more for each part of the launch.

#include "core/stream.h"
#include "kernels/fft_conv.h"

namespace mara::kernels::cuda::fused {

bool takes(const FftConvForward& args);
bool takes(const FftConvBackward& args);
void forward(Stream& stream, const FftConvForward& args);
void backward(Stream& stream, const FftConvBackward& args);
void forward_short(Stream& stream, const FftConvForward& args);     // the part of it for lengths up to 4096
void forward_long(Stream& stream, const FftConvForward& args);      // ... above 16384
void backward_long(Stream& stream, const FftConvBackward& args);    // the part of it for lengths above 8192
void backward_chunks(Stream& stream, const FftConvBackward& args);  // ... and filters of up to 4096 taps

}  // namespace mara::kernels::cuda::fused
