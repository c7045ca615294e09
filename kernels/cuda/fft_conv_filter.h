#pragma once
// Filters and their gradients between time and the spectra of the fused long convolutions (fft_conv_fused.cuh).

#include <cuda_runtime_api.h>

#include "core/stream.h"
#include "core/view.h"
#include "kernels/fft_conv.h"

namespace mara::kernels::cuda {

/// Spectra of all channels' filters in fp16, in the order in which warps of the fused kernels hold them, and the power
/// of two of each channel that they are to be multiplied by.
struct FilterSpectra {
  const uint4* values;  // 1024 R / P of them per channel and part
  const float* scale;
};

/// The filters and the skip of a call as one filter h, for rows of `length`: what k and k_reverse weigh at lag n and
/// -n, or in a circle at all lags that are n or -n but for a multiple of the length. |lag| < length.
struct Filters {
  View k, reverse, skip;
  ConvForm form;
  int64_t length;

  template <class Args>
  static Filters of(const Args& a) {
    return {a.k, a.k_reverse, a.skip, a.form, a.u.size(2)};
  }
  bool two_sided() const { return reverse || form == ConvForm::circular; }
  /// How many spectra rows in C parts need.
  int64_t parts(int c) const { return two_sided() ? 2 * c - 1 : c; }
};

/// Of h in parts h_p of 4096 R lags from 4096 R p on: spectra of h_p - i h_(p-1), which is what transforms of 4096 R
/// points need for rows in C parts, from p = 0, or 1 - C for an h of two sides, to C - 1. All parts of a channel have
/// one scale. With P > 1 for rows that go P at a time: one part of 4096 / P lags.
template <int R, int C, int P = 1>
void transform_filters(Stream& stream, const Filters& filters, uint4* values, float* scale);

/// A channel's rows may be cut into segments, one for each part of a launch that has some: part p of `parts` takes the
/// rows [begin(p), begin(p + 1)) of all D B and sums channel d's into segment d + p.
struct Segments {
  int64_t rows, batches;
  int parts;

  __host__ __device__ int64_t begin(int64_t part) const { return rows * part / parts; }
  __host__ __device__ int64_t count() const { return rows / batches + parts; }
  /// The part that has a row.
  __device__ int64_t part_of(int64_t row) const {
    int64_t part = row * parts / rows;
    while (begin(part + 1) <= row) ++part;
    while (begin(part) > row) --part;
    return part;
  }
};

/// dk, dk_reverse and dskip of a call from the gradients of the spectra above: float4 (4 k1 + 2 h + c) 32 + lane of a
/// segment's part holds the re (c = 0) or im of four columns of row g + 8 h of tile k1. Batches of segments are P rows.
template <int R, int C, int P = 1>
void transform_gradients(Stream& stream, const float4* sums, const Segments& segments, const FftConvBackward& call);

}  // namespace mara::kernels::cuda
