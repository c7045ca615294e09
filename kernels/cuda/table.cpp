#include "kernels/kernels.h"

namespace mara::kernels {

const Table* cuda_table() {
  static constexpr Table table = {
#define KERNEL(name, Args) .name = &cuda::name,
#include "kernels/kernel_list.inc"
#undef KERNEL
  };
  return &table;
}

}  // namespace mara::kernels
