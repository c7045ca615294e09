// Long convolution in three phases: what happens between the outer transforms. See fft_conv_long.cuh.
//
// Bound by memory: 8 bytes an element of each region. A warp takes a k1 of a channel and all of its batch rows in turn,
// or forward with a Q of 4 a fourth of them, and meets no other warp once it has its tables: a row of 256 Q points is Q
// tiles in registers, from which it goes to its spectrum and back. So a warp reads a filter's spectrum once, and sums
// for dk are added in the order of the batch by the one warp that has them, in shared memory. Tables, which only k1
// determines, are made once for all channels that a warp takes.

#include <algorithm>

#include "kernels/cuda/fft_conv_long_inner.cuh"

namespace mara::kernels::cuda::long_rows {
namespace {

/// Warps of a block, and how many of them share a k1 and its tables forward, each with some of the batch rows.
constexpr int kBackwardWarps = 8;
template <int Q>
constexpr int kForwardWarps = Q < 4 ? 8 : 4;
template <int Q>
constexpr int kTeam = Q < 4 ? 1 : 4;
/// Blocks on a multiprocessor at a time.
template <int Q>
constexpr int kForwardBlocks = Q == 2 ? 2 : 3;
template <int Q>
constexpr int kBackwardBlocks = Q == 4 ? 1 : 2;

/// Where a warp is among the rows of its k1: every `slots`-th channel of a group from `channel` on, every `step`-th
/// batch row.
struct Cursor {
  int channel, batch;

  __device__ __forceinline__ bool valid(const Group& group) const { return channel < group.channels; }
  __device__ __forceinline__ int row(const Group& group) const { return channel * group.batches + batch; }
  __device__ __forceinline__ void move(const Group& group, int step, int slots) {
    for (batch += step; batch >= group.batches; batch -= group.batches) channel += slots;
  }
};

template <int Q>
__global__ void __launch_bounds__(32 * kForwardWarps<Q>, kForwardBlocks<Q>)
    multiply_kernel(const __grid_constant__ MultiplyArgs args) {
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  constexpr int kItems = kForwardWarps<Q> / kTeam<Q>;  // of a block
  const Group& group = args.group;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n1 = group.radices.rows(), lines = group.radices.lines();
  const int item = blockIdx.x * kItems + warp / kTeam<Q>, member = warp % kTeam<Q>, r = item % n1;
  InnerTransform<Q> transform(shared_address(memory) + warp / kTeam<Q> * InnerTransform<Q>::kBytes, lane, group.radices,
                              r);
  for (int s = member; s < Q; s += kTeam<Q>) transform.prepare(s);
  kTeam<Q> == 1 ? __syncwarp() : __syncthreads();
  transform.begin();
  Cursor at{item / n1, 0};
  at.move(group, member, args.slots);
  if (!at.valid(group)) return;
  wait_for_last();
  const uint32_t staged = shared_address(memory) + kItems * InnerTransform<Q>::kBytes + warp * (Q * 1024);
  transform.fetch(staged, group.line(at.row(group), r, 0));
  int channel = -1;  // that these are of
  const uint4* tiles = nullptr;
  uint32_t factor = 0;
  ComplexTile only;
  while (at.valid(group)) {
    if (at.channel != channel) {
      channel = at.channel;
      const int64_t d = group.first_channel + channel;
      tiles = args.spectra.tiles(group.radices, d, r);
      factor = filter_factor(args.spectra, group.radices, d, r);
      if constexpr (Q == 1) only = load_tile(tiles, 0, lane, factor);
    }
    ComplexTile x[Q];
    const int row = at.row(group), own = lane < lines ? group.exponents[row * lines + lane] : 0;
    at.move(group, kTeam<Q>, args.slots);
    wait_for_copies<0>();
    __syncwarp();
    transform.take(x, staged);
    __syncwarp();  // all have taken theirs
    if (at.valid(group)) transform.fetch(staged, group.line(at.row(group), r, 0));
    transform.part(x, own, common_exponent(own));
#pragma unroll
    for (int s = 0; s < Q; ++s) {
      ComplexTile tile = rounded(transform.spectrum(x[s], s));
      multiply<false>(tile, Q == 1 ? only : load_tile(tiles, s, lane, factor));
      x[s] = transform.inverse(tile, s);
    }
    transform.join(x);
    transform.store(x, group.line(row, r, 0));
  }
}

template <int Q, bool kC>
__global__ void __launch_bounds__(32 * kBackwardWarps, kBackwardBlocks<Q>)
    multiply_backward_kernel(const __grid_constant__ MultiplyArgs args) {
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  const Group& group = args.group;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n1 = group.radices.rows(), lines = group.radices.lines();
  const int item = blockIdx.x * kBackwardWarps + warp, r = item % n1;
  const uint32_t shared = shared_address(memory);
  InnerTransform<Q> transform(shared + warp * InnerTransform<Q>::kBytes, lane, group.radices, r);
#pragma unroll 1
  for (int s = 0; s < Q; ++s) transform.prepare(s);
  __syncwarp();
  transform.begin();
  const uint32_t sums = shared + kBackwardWarps * InnerTransform<Q>::kBytes + warp * (Q * 2048) + lane * 16;
  Cursor at{item / n1, 0};
  if (!at.valid(group)) return;
  wait_for_last();
  const auto as_words = [](float4 x) {
    return uint4{__float_as_uint(x.x), __float_as_uint(x.y), __float_as_uint(x.z), __float_as_uint(x.w)};
  };
  const auto as_floats = [](uint4 x) {
    return float4{__uint_as_float(x.x), __uint_as_float(x.y), __uint_as_float(x.z), __uint_as_float(x.w)};
  };
  const uint32_t staged = shared + kBackwardWarps * (InnerTransform<Q>::kBytes + Q * 2048) + warp * (2 * Q * 1024);
  transform.fetch(staged, group.line(at.row(group), r, 0));
  transform.fetch(staged + Q * 1024, group.line(at.row(group) + group.rows(), r, 0));
  const uint4* tiles = nullptr;
  uint32_t factor = 0;
  ComplexTile only;
  float4* total = nullptr;
  while (at.valid(group)) {
    if (at.batch == 0) {
      const int64_t d = group.first_channel + at.channel;
      tiles = args.spectra.tiles(group.radices, d, r);
      factor = filter_factor(args.spectra, group.radices, d, r);
      if constexpr (Q == 1) only = load_tile(tiles, 0, lane, factor);
      if (args.sums.values != nullptr) total = args.sums.tiles(group.radices, d, r) + lane;
#pragma unroll
      for (int q = 0; q < 4 * Q; ++q) {
        store_four(sums + q * 512, args.start || total == nullptr ? uint4{} : as_words(total[q * 32]));
      }
    }
    const int g_row = at.row(group), x_row = g_row + group.rows();
    at.move(group, 1, args.slots);
    ComplexTile g[Q], x[Q];
    const int g_own = lane < lines ? group.exponents[g_row * lines + lane] : 0;
    const int x_own = lane < lines ? group.exponents[x_row * lines + lane] : 0;
    const bool more = at.valid(group);
    const int next = at.row(group);
    wait_for_copies<1>();
    __syncwarp();
    transform.take(g, staged);
    __syncwarp();
    more ? transform.fetch(staged, group.line(next, r, 0)) : commit_copies();
    const int g_exponent = common_exponent(g_own), x_exponent = common_exponent(x_own);
    const float scale = power_of_two(g_exponent) * power_of_two(x_exponent);
    transform.part(g, g_own, g_exponent);
#pragma unroll
    for (int s = 0; s < Q; ++s) g[s] = rounded(transform.spectrum(g[s], s));
    wait_for_copies<1>();
    __syncwarp();
    transform.take(x, staged + Q * 1024);
    __syncwarp();
    more ? transform.fetch(staged + Q * 1024, group.line(next + group.rows(), r, 0)) : commit_copies();
    transform.part(x, x_own, x_exponent);
#pragma unroll
    for (int s = 0; s < Q; ++s) {
      const ComplexSums spectrum = transform.spectrum(x[s], s);
      TileSum sum;
#pragma unroll
      for (int q = 0; q < 4; ++q) sum.q[q] = as_floats(load_four(sums + (4 * s + q) * 512));
      sum.add(spectrum, g[s], scale);
#pragma unroll
      for (int q = 0; q < 4; ++q) store_four(sums + (4 * s + q) * 512, as_words(sum.q[q]));
      const ComplexTile filter = Q == 1 ? only : load_tile(tiles, s, lane, factor);
      if constexpr (kC) {
        x[s] = rounded(spectrum);
        multiply<false>(x[s], filter);
        x[s] = transform.inverse(x[s], s);
      }
      multiply<true>(g[s], filter);
      g[s] = transform.inverse(g[s], s);
    }
    if constexpr (kC) {
      transform.join(x);
      transform.store(x, group.line(x_row, r, 0));
    }
    if (args.dx) {
      transform.join(g);
      transform.store(g, group.line(g_row, r, 0));
    }
    if (at.batch > 0 || total == nullptr) continue;  // the channel's last
#pragma unroll
    for (int q = 0; q < 4 * Q; ++q) total[q * 32] = as_floats(load_four(sums + q * 512));
  }
}

/// Channels of a group that are in work at a time, where a multiprocessor takes `items` of a k1.
int slots_for(const Group& group, int items) {
  return std::clamp(device_info().multiprocessors * items / group.radices.rows(), 1, group.channels);
}
unsigned blocks_for(const Group& group, int slots, int items) {
  return exact_grid(ceil_div(int64_t{slots} * group.radices.rows(), items));
}

}  // namespace

void multiply(Stream& stream, const Group& group, const Spectra& spectra) {
  if (group.parts > 1) return multiply_parts(stream, group, spectra);
  MultiplyArgs args{group, spectra, {}, true, true};
  with_radix(group.radices.inner, [&]<int Q>() {
    constexpr int kItems = kForwardWarps<Q> / kTeam<Q>;
    args.slots = slots_for(group, kForwardBlocks<Q> * kItems);
    launch(stream, multiply_kernel<Q>, blocks_for(group, args.slots, kItems), 32 * kForwardWarps<Q>,
           kItems * InnerTransform<Q>::kBytes + kForwardWarps<Q> * (Q * 1024), args);
  });
  launched("fft_conv_forward: multiply long rows");
}

void multiply_backward(Stream& stream, const Group& group, const Spectra& spectra, bool dx, bool c,
                       const GradientSums& sums, bool start) {
  if (group.parts > 1) return multiply_parts_backward(stream, group, spectra, dx, c, sums, start);
  MultiplyArgs args{group, spectra, sums, dx, start};
  with_radix(group.radices.inner, [&]<int Q>() {
    constexpr size_t kBytes = kBackwardWarps * (InnerTransform<Q>::kBytes + Q * 4096);
    args.slots = slots_for(group, kBackwardBlocks<Q> * kBackwardWarps);
    launch(stream, c ? multiply_backward_kernel<Q, true> : multiply_backward_kernel<Q, false>,
           blocks_for(group, args.slots, kBackwardWarps), 32 * kBackwardWarps, kBytes, args);
  });
  launched("fft_conv_backward: multiply long rows");
}

}  // namespace mara::kernels::cuda::long_rows
