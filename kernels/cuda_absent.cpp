// Stands for the CUDA backend in a build without it.

#include "core/runtime.h"
#include "kernels/kernels.h"

namespace mara {

Runtime* cuda_runtime(int) { return nullptr; }

namespace kernels {

const Table* cuda_table() { return nullptr; }

}  // namespace kernels
}  // namespace mara
