#pragma once
// Causal long convolutions of rows that no block can hold, in three phases over 16-bit complex scratch on tensor cores:
// bf16 data at addresses and strides that are multiples of 16 bytes, lengths that are multiples of 8 up to 2^20, with
// or without a reversed filter, GPUs of capability 9.0 or later.
//
// fp16 inside with a scale for each row, as in the fused path and with its errors. Rows are padded to a power of two
// from 65536 points on. Work space: per channel and point 4 bytes for a filter's spectrum and backward 8 for the sums,
// and for all 4 bytes (backward 8) per point of as many rows as fit the L2 cache, at least one.

#include "core/stream.h"
#include "kernels/fft_conv.h"

namespace mara::kernels::cuda::long_rows {

bool takes(const FftConvForward& args);
bool takes(const FftConvBackward& args);
void forward(Stream& stream, const FftConvForward& args);
void backward(Stream& stream, const FftConvBackward& args);

}  // namespace mara::kernels::cuda::long_rows
