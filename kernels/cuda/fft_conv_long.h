#pragma once
// Causal long convolutions of rows that no block can hold, in three phases over 16-bit complex scratch on tensor cores:
// bf16 data at addresses and strides that are multiples of 16 bytes, lengths that are multiples of 8 up to 2^22, with
// or without a reversed filter, GPUs of capability 9.0 or later.
//
// fp16 inside with a scale for each row, as in the fused path and with its errors. Rows are padded to a power of two
// from 65536 to 2^20 points, or beyond that to two, three or four times 2^20. Work space: 100 MB forward and 135
// backward for rows on their way; for some channels at a time, 4 bytes per point of spectra and backward 8 of sums, up
// to twice that for reversed filters beyond 2^20 points: another 100 MB forward and 200 backward at most, or 12
// channels' worth.

#include "core/stream.h"
#include "kernels/fft_conv.h"

namespace mara::kernels::cuda::long_rows {

bool takes(const FftConvForward& args);
bool takes(const FftConvBackward& args);
void forward(Stream& stream, const FftConvForward& args);
void backward(Stream& stream, const FftConvBackward& args);

}  // namespace mara::kernels::cuda::long_rows
