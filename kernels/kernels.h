#pragma once
// The kernel table: one function pointer per kernel and backend, all generated from kernel_list.inc.

#include "core/stream.h"
#include "kernels/attention.h"
#include "kernels/decay_window.h"
#include "kernels/elementwise.h"
#include "kernels/fft_conv.h"
#include "kernels/gather.h"
#include "kernels/hyena_conv.h"
#include "kernels/loss.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/optim.h"
#include "kernels/reduce.h"
#include "kernels/short_conv.h"
#include "kernels/ssm_kernel.h"
#include "kernels/ssm_scan.h"

namespace mara::kernels {

struct Table {
#define KERNEL(name, Args) void (*name)(Stream&, const Args&);
#include "kernels/kernel_list.inc"
#undef KERNEL
};

namespace cpu {
#define KERNEL(name, Args) void name(Stream&, const Args&);
#include "kernels/kernel_list.inc"
#undef KERNEL
}  // namespace cpu

namespace cuda {
#define KERNEL(name, Args) void name(Stream&, const Args&);
#include "kernels/kernel_list.inc"
#undef KERNEL
}  // namespace cuda

/// The CUDA table, or null in a build without CUDA.
const Table* cuda_table();

struct Backend {
  const Table& k;
  Stream& stream;
};

/// The table and the compute stream of a device: auto [k, stream] = kernels::on(x.device()).
Backend on(Device device);

}  // namespace mara::kernels
