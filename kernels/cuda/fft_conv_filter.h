#pragma once
// Filters and their gradients between time and the spectra of the fused long convolutions (fft_conv_fused.cuh).

#include <cuda_runtime_api.h>

#include "core/stream.h"
#include "core/view.h"

namespace mara::kernels::cuda {

/// Spectra of all channels' filters in fp16, in the order in which warps of the fused kernels hold them, and the power
/// of two of each channel that they are to be multiplied by.
struct FilterSpectra {
  const uint4* values;  // 1024 R of them per channel and part
  const float* scale;
};

/// k (D, K) with skip (D) added at lag 0, up to `length`, in C parts k_c of 4096 R taps: spectra of k_c - i k_(c-1),
/// which is what a transform of 4096 R points needs for rows in as many parts. All parts of a channel have one scale.
template <int R, int C>
void transform_filters(Stream& stream, const View& k, const View& skip, int64_t length, uint4* values, float* scale);

/// A channel's rows may be cut into segments, one for each part of a launch that has some: part p of `parts` takes the
/// rows [begin(p), begin(p + 1)) of all D B and sums channel d's into segment d + p.
struct Segments {
  int64_t rows, batches;
  int parts;

  __host__ __device__ int64_t begin(int64_t part) const { return rows * part / parts; }
  __host__ __device__ int64_t count() const { return rows / batches + parts; }
};

/// dk (D, K) and dskip (D), each of which may be absent, from the gradients of the spectra above: float4
/// (4 k1 + 2 h + c) 32 + lane of a segment's part holds the re (c = 0) or im of four columns of row g + 8 h of tile k1.
template <int R, int C>
void transform_gradients(Stream& stream, const float4* sums, const Segments& segments, int64_t length, const View& dk,
                         bool accumulate_k, const View& dskip, bool accumulate_skip);

}  // namespace mara::kernels::cuda
