#pragma once
// Causal convolutions as products with Toeplitz matrices: bf16 data, sequences of up to 1024 or filters of up to 256
// taps, lengths and strides that are multiples of 8. Others are the caller's to send elsewhere.

#include "kernels/fft_conv.h"

namespace mara {
class Stream;
}

namespace mara::kernels::cuda::toeplitz {

bool takes(const FftConvForward& args);
bool takes(const FftConvBackward& args);
void forward(Stream& stream, const FftConvForward& args);
void backward(Stream& stream, const FftConvBackward& args);

}  // namespace mara::kernels::cuda::toeplitz
