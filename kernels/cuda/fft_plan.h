#pragma once
// Batches of f32 transforms in place, complex or real, by cuFFT.

#include <cufft.h>

#include <cstdint>

#include "core/stream.h"

namespace mara::kernels::cuda {

class FftPlan {
 public:
  enum class Direction { forward = CUFFT_FORWARD, inverse = CUFFT_INVERSE };
  /// The real kinds keep a row of `size` real numbers and its size / 2 + 1 complex ones in the same place.
  enum class Kind { complex = CUFFT_C2C, real_to_complex = CUFFT_R2C, complex_to_real = CUFFT_C2R };

  /// The plan for `batch` rows of `size`, made the first time it is asked for, which must not be while a graph is
  /// captured, and kept: graphs hold on to what it points to.
  static const FftPlan& of(Stream& stream, int64_t size, int64_t batch, Kind kind = Kind::complex);

  /// A plan of the complex kind. The inverse does not divide by the size, here as below.
  void run(Stream& stream, cufftComplex* rows, Direction direction) const;
  /// A plan of one of the real kinds.
  void run(Stream& stream, cufftComplex* rows) const;

 private:
  FftPlan(Stream& stream, int64_t size, int64_t batch, Kind kind);

  Kind kind_;

  cufftHandle handle_ = 0;
  size_t work_bytes_ = 0;
};

}  // namespace mara::kernels::cuda
