#pragma once
// Batches of complex f32 transforms in place, by cuFFT.

#include <cufft.h>

#include <cstdint>

#include "core/stream.h"

namespace mara::kernels::cuda {

class FftPlan {
 public:
  enum class Direction { forward = CUFFT_FORWARD, inverse = CUFFT_INVERSE };

  /// The plan for `batch` rows of `size`, made the first time it is asked for, which must not be while a graph is
  /// captured, and kept: graphs hold on to what it points to.
  static const FftPlan& of(Stream& stream, int64_t size, int64_t batch);

  /// The inverse does not divide by the size.
  void run(Stream& stream, cufftComplex* rows, Direction direction) const;

 private:
  FftPlan(Stream& stream, int64_t size, int64_t batch);

  cufftHandle handle_ = 0;
  size_t work_bytes_ = 0;
};

}  // namespace mara::kernels::cuda
