// Stands for the CUDA backend in a build without it.

#include "core/runtime.h"
#include "kernels/kernels.h"

namespace mara {

Runtime* cuda_runtime(int) { return nullptr; }
std::string cuda_problem(int) {
  return "this build has no CUDA backend; configure with -DMARA_CUDA=ON, or use --device cpu";
}

namespace kernels {

const Table* cuda_table() { return nullptr; }

}  // namespace kernels
}  // namespace mara
