#include "kernels/common/hyena_parts.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

constexpr HyenaParts kParts{short_conv_forward, short_conv_backward, fft_conv_forward, fft_conv_backward};

}  // namespace

void hyena_conv_forward(Stream& stream, const HyenaConvForward& args) { compose_hyena(stream, args, kParts); }
void hyena_conv_backward(Stream& stream, const HyenaConvBackward& args) { compose_hyena(stream, args, kParts); }

}  // namespace mara::kernels::cpu
