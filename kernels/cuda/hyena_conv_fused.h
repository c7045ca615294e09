#pragma once
// The Hyena operator in one kernel on tensor cores: bf16 rows at multiples of 16 bytes, with up to 4 taps, forward up
// to 8192 and backward, where dz is wanted, up to 4096. z is read once; the p are f32 until their products are rounded
// to fp16 with a scale for each row, the gradients of p are rounded to bf16.

#include "core/stream.h"
#include "kernels/hyena_conv.h"

namespace mara::kernels::cuda::hyena {

void forward(Stream& stream, const HyenaConvForward& args);
void backward(Stream& stream, const HyenaConvBackward& args);

}  // namespace mara::kernels::cuda::hyena
