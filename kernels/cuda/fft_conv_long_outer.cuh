#pragma once
// The outer transforms of long convolutions in three phases: what the way in and the way out have in common.
//
// An item is a line of columns, 32 m for all n1, of one row; blocks of 16 warps take contiguous ranges of items.
// Between the two radix-16 stages data crosses warps through shared memory: a warp has one nb of the first and Q values
// kappa = k + 16 s of the second.

#include "kernels/cuda/fft_conv_long.cuh"

namespace mara::kernels::cuda::long_rows {

/// A column tile between the stages: for each kappa and nb 32 fp16 real parts in pieces of 16 bytes, and as many
/// imaginary ones a plane further. Eight rows of one kappa, or of one nb, meet in no bank.
template <int Q>
struct Exchange {
  static constexpr uint32_t kPlane = Q * 16 * 1024, kBytes = 2 * kPlane;

  __device__ __forceinline__ static uint32_t offset(uint32_t kappa, uint32_t nb, uint32_t piece) {
    const uint32_t slot = (((nb & 1) << 2) | (piece ^ (nb >> 1 & 3))) ^ (kappa & 7);
    return kappa * 1024 + (nb >> 1) * 128 + slot * 16;
  }
};

/// The first stage's matrix for a and nb, [k, na] with na in the order of staged rows, or transposed and in order. It
/// has all of the exponent that k and a share.
template <int Q>
__device__ __forceinline__ ComplexTile first_matrix(int lane, int a, int nb, bool transposed) {
  constexpr float kScale = Q == 4 ? 0.125f : 0.25f;
  return make_tile(lane, [&](int row, int column) {
    const int k = transposed ? column : row, na = transposed ? row : column % 8 / 2 + column % 2 * 4 + column / 8 * 8;
    const float2 e = unit(-(static_cast<float>(k) - 0.25f) * static_cast<float>(16 * (Q * na + a) + nb) / (256 * Q));
    return float2{kScale * e.x, kScale * e.y};
  });
}
/// The second stage's matrix, [kb, nb] or the transposed conjugate.
template <int Q>
__device__ __forceinline__ ComplexTile second_matrix(int lane, int s, bool back) {
  return make_tile(lane, [&](int row, int column) {
    const int kb = back ? column : row, nb = back ? row : column;
    const float2 e = unit(-(static_cast<float>(kb) + static_cast<float>(s) / Q) * static_cast<float>(nb) / 16);
    return float2{0.25f * e.x, back ? -0.25f * e.y : 0.25f * e.y};
  });
}

/// sum_a e(-s a / Q) x_a into x_s, in f32.
template <int Q>
__device__ __forceinline__ void butterfly(float (&re)[Q][4], float (&im)[Q][4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (Q == 2) {
      const float r = re[0][i], m = im[0][i];
      re[0][i] = r + re[1][i], im[0][i] = m + im[1][i];
      re[1][i] = r - re[1][i], im[1][i] = m - im[1][i];
    } else if constexpr (Q == 4) {
      const float even_r = re[0][i] + re[2][i], even_i = im[0][i] + im[2][i];
      const float first_r = re[0][i] - re[2][i], first_i = im[0][i] - im[2][i];
      const float odd_r = re[1][i] + re[3][i], odd_i = im[1][i] + im[3][i];
      const float second_r = im[1][i] - im[3][i], second_i = re[3][i] - re[1][i];  // times -i
      re[0][i] = even_r + odd_r, im[0][i] = even_i + odd_i;
      re[2][i] = even_r - odd_r, im[2][i] = even_i - odd_i;
      re[1][i] = first_r + second_r, im[1][i] = first_i + second_i;
      re[3][i] = first_r - second_r, im[3][i] = first_i - second_i;
    }
  }
}

/// A matrix times the 16 rows of a kappa at two pairs of pieces: [h][piece] of rows g + 8 h.
__device__ __forceinline__ void second_stage(uint32_t (&re)[2][4], uint32_t (&im)[2][4], uint32_t lower, uint32_t upper,
                                             uint32_t plane, const ComplexTile& matrix, const uint32_t (&negative)[4]) {
#pragma unroll
  for (int both = 0; both < 2; ++both) {
    uint32_t x_re[4], x_im[4];
    load_transposed(x_re, both == 0 ? lower : upper);
    load_transposed(x_im, (both == 0 ? lower : upper) + plane);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      float sum_re[4] = {}, sum_im[4] = {};
      mma_half(sum_re, matrix.re, x_re[2 * n], x_re[2 * n + 1]);
      mma_half(sum_im, matrix.im, x_re[2 * n], x_re[2 * n + 1]);
      mma_half(sum_re, negative, x_im[2 * n], x_im[2 * n + 1]);
      mma_half(sum_im, matrix.re, x_im[2 * n], x_im[2 * n + 1]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        re[h][2 * both + n] = pack_halves(sum_re[2 * h], sum_re[2 * h + 1]);
        im[h][2 * both + n] = pack_halves(sum_im[2 * h], sum_im[2 * h + 1]);
      }
    }
  }
}

/// Where a block is in its range of items.
struct Item {
  int tile, part, batch, channel, region;

  __device__ Item(const Group& group, int index) {
    tile = index % group.radices.lines();
    int row = index / group.radices.lines();
    part = row % group.parts, row /= group.parts;
    batch = row % group.batches, row /= group.batches;
    channel = row % group.channels;
    region = row / group.channels;
  }
  __device__ void next(const Group& group) {
    if (++tile < group.radices.lines()) return;
    tile = 0;
    if (++part < group.parts) return;
    part = 0;
    if (++batch < group.batches) return;
    batch = 0;
    if (++channel < group.channels) return;
    channel = 0, ++region;
  }
  __device__ int row(const Group& group) const {
    return ((region * group.channels + channel) * group.batches + batch) * group.parts + part;
  }
  /// Where the part begins in a tensor, and how many elements of the row are left from there on.
  __device__ bfloat16* at(const ChannelRows<bfloat16>& rows, const Group& group) const {
    return rows.at(group.first_channel + channel, group.first_batch + batch) + start(group);
  }
  __device__ int left(const Group& group) const { return group.length - start(group); }

 private:
  __device__ int start(const Group& group) const { return part * static_cast<int>(group.radices.points()); }
};

/// The first item of a block, or the one after the last of the block before.
__device__ __forceinline__ int first_item(int items, unsigned block) {
  return static_cast<int>(static_cast<int64_t>(items) * block / gridDim.x);
}

/// A warp's share of a column tile, rows (a, na) of 64 bytes: their place in a tensor's row, and in shared memory.
template <int Q>
struct Share {
  static constexpr uint32_t kBytes = Q * 1024;
  int nb, columns, length;

  __device__ __forceinline__ int at(int a, int na, int column) const {
    return (16 * (Q * na + a) + nb) * columns + column;
  }
  __device__ __forceinline__ void copy(uint32_t to, const bfloat16* row, int tile, int lane) const {
#pragma unroll
    for (int i = 0; i < 2 * Q; ++i) {
      const int n = at(i / 2, i % 2 * 8 + lane / 4, 32 * tile + lane % 4 * 8);
      copy_async_16(to + i * 512 + lane * 16, row + n, n < length);
    }
  }
  /// Brings it into the L2 cache.
  __device__ __forceinline__ void prefetch(const bfloat16* row, int tile, int lane) const {
#pragma unroll
    for (int i = 0; i < Q / 2; ++i) {
      const int n = at(2 * i + lane / 16, lane % 16, 32 * tile);
      if (n < length) asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(row + n)));
    }
  }
};

/// Four neighbours, asked for here and not where they are used first.
__device__ __forceinline__ uint2 load_now(const bfloat16* from) {
  uint2 four;
  asm volatile("ld.volatile.global.v2.b32 {%0, %1}, [%2];"
               : "=r"(four.x), "=r"(four.y)
               : "l"(__cvta_generic_to_global(from)));
  return four;
}

/// Blocks of a launch: as many as are on the GPU at a time.
template <int Q>
inline unsigned blocks_for(int items) {
  return static_cast<unsigned>(std::min(items, device_info().multiprocessors * (Q == 1 ? 2 : 1)));
}

}  // namespace mara::kernels::cuda::long_rows
