#pragma once
// Long convolutions through cuFFT: every size, type, form and stride.

#include "core/stream.h"
#include "kernels/fft_conv.h"

namespace mara::kernels::cuda::general {

void forward(Stream& stream, const FftConvForward& args);
void backward(Stream& stream, const FftConvBackward& args);

}  // namespace mara::kernels::cuda::general
