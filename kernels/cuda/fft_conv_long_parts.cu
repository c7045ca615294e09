// Long convolution in three phases: what happens between the outer transforms to rows of several parts. See
// fft_conv_long.cuh.
//
// Bound by memory, as for rows of one part, and by what a row of tables and spectra leaves of shared memory. A block
// takes a k1 of a channel and all of its batch rows in turn, a warp for each part: it brings its part to the spectrum,
// which the others read from shared memory, sums what makes up its part of the result, and brings that back. Sums for
// dk are added in device memory, in the order of the batch: a group has few rows of a channel.

#include "kernels/cuda/fft_conv_long_inner.cuh"

namespace mara::kernels::cuda::long_rows {
namespace {

constexpr int Q = 4, kMostParts = 4;
constexpr uint32_t kTables = InnerTransform<Q>::kBytes, kRow = Q * 1024;  // bytes

/// Tiles of a part in shared memory.
__device__ __forceinline__ void put(uint32_t at, int lane, const ComplexTile& tile) {
  store_four(at + lane * 16, {tile.re[0], tile.re[1], tile.re[2], tile.re[3]});
  store_four(at + lane * 16 + 512, {tile.im[0], tile.im[1], tile.im[2], tile.im[3]});
}
__device__ __forceinline__ ComplexTile get(uint32_t at, int lane) {
  const uint4 re = load_four(at + lane * 16), im = load_four(at + lane * 16 + 512);
  return {{re.x, re.y, re.z, re.w}, {im.x, im.y, im.z, im.w}};
}

__device__ __forceinline__ ComplexSums widened(const ComplexTile& tile) {
  ComplexSums sums;
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    const float2 re = __half22float2(as_half2(tile.re[q])), im = __half22float2(as_half2(tile.im[q]));
    sums.re[q >> 1][(q & 1) * 2] = re.x, sums.re[q >> 1][(q & 1) * 2 + 1] = re.y;
    sums.im[q >> 1][(q & 1) * 2] = im.x, sums.im[q >> 1][(q & 1) * 2 + 1] = im.y;
  }
  return sums;
}

/// sum += x h, or x conj(h).
template <bool kConj>
__device__ __forceinline__ void add(ComplexSums& sum, const ComplexSums& x, const ComplexSums& h) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float &re = sum.re[i / 4][i % 4], &im = sum.im[i / 4][i % 4];
    const float x_re = x.re[i / 4][i % 4], x_im = x.im[i / 4][i % 4];
    const float h_re = h.re[i / 4][i % 4], h_im = kConj ? -h.im[i / 4][i % 4] : h.im[i / 4][i % 4];
    re = fmaf(x_re, h_re, fmaf(-x_im, h_im, re));
    im = fmaf(x_re, h_im, fmaf(x_im, h_re, im));
  }
}

/// A warp's place in its block, and what it knows of the filter.
struct Member {
  int lane, part, parts, r, channel;
  int64_t d;
  uint32_t factors;  // of the H_p, one to a lane

  __device__ explicit Member(const Group& group)
      : lane(threadIdx.x % 32),
        part(threadIdx.x / 32),
        parts(group.parts),
        r(static_cast<int>(blockIdx.x % group.radices.rows())),
        channel(static_cast<int>(blockIdx.x / group.radices.rows())),
        d(group.first_channel + channel) {}
  __device__ void find_factors(const Spectra& spectra, const Radices& radices) {
    factors = lane < spectra.parts.count ? filter_factor(spectra, radices, d, r, lane) : 0;
  }
  /// Of those of a region's row, the exponents that lanes have of this part's lines, and the largest of all parts'.
  __device__ int own_exponent(const Group& group, int row) const { return group.exponents[row * 32 + lane]; }
  __device__ int exponent(const Group& group, int row) const {
    int most = 0;
    for (int c = 0; c < parts; ++c) most = max(most, group.exponents[(row - part + c) * 32 + lane]);
    return common_exponent(most);
  }
  /// sum_c H_(part - c) X_c, or sum_c conj(H_(c - part)) X_c, of tiles s.
  template <bool kConj>
  __device__ ComplexTile sum(const Spectra& spectra, const Radices& radices, uint32_t rows, int s) const {
    ComplexSums sum{};
#pragma unroll 1
    for (int c = 0; c < parts; ++c) {
      const int index = (kConj ? c - part : part - c) - spectra.parts.first;
      if (index < 0) continue;  // never too large: a filter has as many parts as a row
      const uint32_t factor = __shfl_sync(0xffffffffu, factors, index);
      add<kConj>(sum, widened(get(rows + c * kRow + s * 1024, lane)),
                 widened(load_tile(spectra.tiles(radices, d, r, index), s, lane, factor)));
    }
    return rounded(sum);
  }
};

__global__ void __launch_bounds__(32 * kMostParts, 4) multiply_parts_kernel(const __grid_constant__ MultiplyArgs args) {
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  const Group& group = args.group;
  Member me(group);
  const uint32_t shared = shared_address(memory), spectra = shared + kTables;
  const uint32_t staged = spectra + (me.parts + me.part) * kRow;
  InnerTransform<Q> transform(shared, me.lane, group.radices, me.r);
  for (int s = me.part; s < Q; s += me.parts) transform.prepare(s);
  __syncthreads();
  wait_for_last();
  me.find_factors(args.spectra, group.radices);
  int row = me.channel * group.batches * me.parts + me.part;
  const int end = row + group.batches * me.parts;
  transform.fetch(staged, group.line(row, me.r, 0));
  for (; row < end; row += me.parts) {
    ComplexTile x[Q];
    const int own = me.own_exponent(group, row), exponent = me.exponent(group, row);
    wait_for_copies<0>();
    __syncwarp();
    transform.take(x, staged);
    __syncwarp();  // all have taken theirs
    if (row + me.parts < end) transform.fetch(staged, group.line(row + me.parts, me.r, 0));
    transform.part(x, own, exponent);
#pragma unroll
    for (int s = 0; s < Q; ++s) {
      put(spectra + me.part * kRow + s * 1024, me.lane, rounded(transform.spectrum(x[s], s)));
    }
    __syncthreads();
#pragma unroll
    for (int s = 0; s < Q; ++s) {
      x[s] = transform.inverse(me.sum<false>(args.spectra, group.radices, spectra, s), s);
    }
    __syncthreads();  // all have read the spectra
    transform.join(x);
    transform.store(x, group.line(row, me.r, 0));
  }
}

__global__ void __launch_bounds__(32 * kMostParts, 3)
    multiply_parts_backward_kernel(const __grid_constant__ MultiplyArgs args, bool c) {
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  const Group& group = args.group;
  Member me(group);
  const uint32_t shared = shared_address(memory), g_spectra = shared + kTables, x_spectra = g_spectra + me.parts * kRow;
  const uint32_t g_staged = x_spectra + me.parts * kRow + me.part * (2 * kRow), x_staged = g_staged + kRow;
  InnerTransform<Q> transform(shared, me.lane, group.radices, me.r);
  for (int s = me.part; s < Q; s += me.parts) transform.prepare(s);
  __syncthreads();
  wait_for_last();
  me.find_factors(args.spectra, group.radices);
  const auto fetch = [&](uint32_t staged, int row) { transform.fetch(staged, group.line(row, me.r, 0)); };
  const int begin = me.channel * group.batches * me.parts + me.part;
  fetch(g_staged, begin), fetch(x_staged, begin + group.rows());
  for (int b = 0; b < group.batches; ++b) {
    const int g_row = begin + b * me.parts, x_row = g_row + group.rows();
    const bool more = b + 1 < group.batches;
    float scale = 1;
    const auto enter = [&](int row, uint32_t staged, uint32_t spectra) {
      ComplexTile x[Q];
      const int own = me.own_exponent(group, row), exponent = me.exponent(group, row);
      scale *= power_of_two(exponent);
      wait_for_copies<1>();
      __syncwarp();
      transform.take(x, staged);
      __syncwarp();
      more ? fetch(staged, row + me.parts) : commit_copies();
      transform.part(x, own, exponent);
#pragma unroll
      for (int s = 0; s < Q; ++s) {
        put(spectra + me.part * kRow + s * 1024, me.lane, rounded(transform.spectrum(x[s], s)));
      }
    };
    enter(g_row, g_staged, g_spectra);
    enter(x_row, x_staged, x_spectra);
    __syncthreads();
    // dH_p for p = part, and for part - parts if the filter has them.
#pragma unroll 1
    for (int p = me.part; p >= args.sums.parts.first && args.sums.values != nullptr; p -= me.parts) {
      float4* const total = args.sums.tiles(group.radices, me.d, me.r, p - args.sums.parts.first) + me.lane;
#pragma unroll 1
      for (int s = 0; s < Q; ++s) {
        TileSum sum{};
        if (!args.start || b > 0) {
#pragma unroll
          for (int q = 0; q < 4; ++q) sum.q[q] = total[(4 * s + q) * 32];
        }
#pragma unroll 1
        for (int of_g = max(p, 0); of_g < min(me.parts, me.parts + p); ++of_g) {
          sum.add(widened(get(x_spectra + (of_g - p) * kRow + s * 1024, me.lane)),
                  get(g_spectra + of_g * kRow + s * 1024, me.lane), scale);
        }
#pragma unroll
        for (int q = 0; q < 4; ++q) total[(4 * s + q) * 32] = sum.q[q];
      }
    }
    ComplexTile x[Q];
    if (c) {
#pragma unroll
      for (int s = 0; s < Q; ++s) {
        x[s] = transform.inverse(me.sum<false>(args.spectra, group.radices, x_spectra, s), s);
      }
      transform.join(x);
      transform.store(x, group.line(x_row, me.r, 0));
    }
    if (args.dx) {
#pragma unroll
      for (int s = 0; s < Q; ++s) {
        x[s] = transform.inverse(me.sum<true>(args.spectra, group.radices, g_spectra, s), s);
      }
      transform.join(x);
      transform.store(x, group.line(g_row, me.r, 0));
    }
    __syncthreads();  // all have read the spectra
  }
}

unsigned blocks_for(const Group& group) { return exact_grid(int64_t{group.channels} * group.radices.rows()); }

}  // namespace

void multiply_parts(Stream& stream, const Group& group, const Spectra& spectra) {
  const MultiplyArgs args{group, spectra, {}, true, true};
  launch(stream, multiply_parts_kernel, blocks_for(group), 32 * group.parts, kTables + 2 * group.parts * kRow, args);
  launched("fft_conv_forward: multiply parts of long rows");
}

void multiply_parts_backward(Stream& stream, const Group& group, const Spectra& spectra, bool dx, bool c,
                             const GradientSums& sums, bool start) {
  const MultiplyArgs args{group, spectra, sums, dx, start};
  launch(stream, multiply_parts_backward_kernel, blocks_for(group), 32 * group.parts, kTables + 4 * group.parts * kRow,
         args, c);
  launched("fft_conv_backward: multiply parts of long rows");
}

}  // namespace mara::kernels::cuda::long_rows
