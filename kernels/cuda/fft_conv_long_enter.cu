// Long convolution in three phases: the outer transforms of bf16 rows. See fft_conv_long.cuh.
//
// Bound by memory: 6 bytes an element, and 2 for a gate. The first stage's operands make pairs of columns 16 apart, as
// the scratch wants them.

#include <algorithm>

#include "kernels/cuda/fft_conv_long_outer.cuh"

namespace mara::kernels::cuda::long_rows {
namespace {

struct EnterArgs {
  Group group;
  Source sources[2];
  int items;
};

/// With kGated a region without a factor has factors of 1.
template <int Q, bool kGated>
__global__ void __launch_bounds__(512, Q == 1 ? 2 : 1) enter_kernel(const __grid_constant__ EnterArgs args) {
#if __CUDA_ARCH__ >= 900
  using X = Exchange<Q>;
  constexpr bool kStagedFactor = kGated && Q < 4;  // or there is no room
  extern __shared__ __align__(1024) unsigned char memory[];
  __shared__ uint32_t most[16];
  let_next_start();
  const Group& group = args.group;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const uint32_t exchange = shared_address(memory);
  const uint32_t staged = exchange + X::kBytes + warp * (Share<Q>::kBytes << kStagedFactor);
  ComplexTile first[Q];
#pragma unroll
  for (int a = 0; a < Q; ++a) first[a] = first_matrix<Q>(lane, a, warp, false);
  ComplexTile second = second_matrix<Q>(lane, warp * Q / 16, false);
  const uint32_t second_at = exchange + X::kBytes + (16 * Share<Q>::kBytes << kStagedFactor) + threadIdx.x * 32;
  if constexpr (Q == 4) {  // registers are short
    store_four(second_at, {second.re[0], second.re[1], second.re[2], second.re[3]});
    store_four(second_at + 16, {second.im[0], second.im[1], second.im[2], second.im[3]});
  }

  const int begin = first_item(args.items, blockIdx.x), end = first_item(args.items, blockIdx.x + 1);
  Item item(group, begin);
  Share<Q> share{warp, group.radices.columns(), item.left(group)};
  const auto copy = [&] {
    const Source& source = args.sources[item.region];
    share.copy(staged, item.at(source.rows, group), item.tile, lane);
    if (kGated && source.factor.data != nullptr) {
      const bfloat16* const factor = item.at(source.factor, group);
      kStagedFactor ? share.copy(staged + Share<Q>::kBytes, factor, item.tile, lane)
                    : share.prefetch(factor, item.tile, lane);
    }
    commit_copies();
  };
  const int own = 16 * (g & 1) + 4 * (g >> 1);  // the first of this lane's columns
  uint2 held[kGated && !kStagedFactor ? Q : 1][4] = {};
  const auto load_held = [&] {
    const Source& source = args.sources[item.region];
    const bool gated = source.factor.data != nullptr;
    const bfloat16* const factor = gated ? item.at(source.factor, group) : nullptr;
#pragma unroll
    for (int a = 0; a < Q; ++a) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int n = share.at(a, t + 4 * i, 32 * item.tile + own);
        held[kGated && !kStagedFactor ? a : 0][i] = uint2{0x3f803f80u, 0x3f803f80u};
        if (gated && n < share.length) held[kGated && !kStagedFactor ? a : 0][i] = load_now(factor + n);
      }
    }
  };
  wait_for_last();
  copy();
  for (int index = begin; index < end; ++index) {
    const Source& source = args.sources[item.region];
    const bool gated = kGated && source.factor.data != nullptr;
    const auto at = [&](int a, int i) { return staged + (16 * a + t + 4 * i) * 64 + 2 * own; };
    const auto factor_at = [&](int a, int i) {
      if constexpr (!kStagedFactor) return held[kGated ? a : 0][i];
      return gated ? load_two(at(a, i) + Share<Q>::kBytes) : uint2{0x3f803f80u, 0x3f803f80u};
    };
    if constexpr (kGated && !kStagedFactor) load_held();
    wait_for_copies<0>();
    __syncwarp();
    uint32_t largest = 0;
#pragma unroll
    for (int a = 0; a < Q; ++a) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        uint2 u = load_two(at(a, i));
        if constexpr (kGated) {
          const uint2 w = factor_at(a, i);
          u = {multiply_bf16(u.x, w.x), multiply_bf16(u.y, w.y)};
        }
        largest = larger_magnitude(larger_magnitude(largest, u.x), u.y);
      }
    }
    largest &= 0x7fff7fffu;
    largest = __reduce_max_sync(0xffffffffu, max(largest >> 16, largest & 0xffffu));
    if (lane == 0) most[warp] = largest;
    __syncthreads();  // also: the exchange has been read
    largest = __reduce_max_sync(0xffffffffu, most[lane % 16]);
    const uint32_t exponent = min(max(largest >> 7, 16u), 238u);  // of bf16, and its scale must be one
    const int row = item.row(group), tile = item.tile;
    if (threadIdx.x == 0) group.exponents[row * group.radices.lines() + tile] = static_cast<int>(exponent);
    const float scale = __uint_as_float((255 - exponent) << 23);

    uint32_t x[Q][4][2];  // b operands: n-tile j holds columns 16 (n & 1) + 4 (n >> 1) + j
#pragma unroll
    for (int a = 0; a < Q; ++a) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint2 p = load_two(at(a, 2 * half)), q = load_two(at(a, 2 * half + 1));
        uint2 by_p{}, by_q{};
        if constexpr (kGated) by_p = factor_at(a, 2 * half), by_q = factor_at(a, 2 * half + 1);
        const auto pair = [&](int j, uint32_t one, uint32_t other, uint32_t by_one, uint32_t by_other) {
          const auto value = [&](uint32_t x, uint32_t by) {
            const float factor = kGated ? (j % 2 == 0 ? low_of(by) : high_of(by)) * scale : scale;
            return (j % 2 == 0 ? low_of(x) : high_of(x)) * factor;
          };
          x[a][j][half] = pack_halves(value(one, by_one), value(other, by_other));
        };
        pair(0, p.x, q.x, by_p.x, by_q.x), pair(1, p.x, q.x, by_p.x, by_q.x);
        pair(2, p.y, q.y, by_p.y, by_q.y), pair(3, p.y, q.y, by_p.y, by_q.y);
      }
    }
    item.next(group);
    share.length = item.left(group);
    __syncwarp();  // all have read what was staged
    const bool more = index + 1 < end;
    if (more) copy();

    const uint32_t to_kappa = lane & 15, plane = lane >> 4;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float re[Q][4] = {}, im[Q][4] = {};
#pragma unroll
      for (int a = 0; a < Q; ++a) {
        mma_half(re[a], first[a].re, x[a][j][0], x[a][j][1]);
        mma_half(im[a], first[a].im, x[a][j][0], x[a][j][1]);
      }
      butterfly<Q>(re, im);
#pragma unroll
      for (int s = 0; s < Q; ++s) {
        const uint32_t words[4] = {pack_halves(re[s][0], re[s][1]), pack_halves(re[s][2], re[s][3]),
                                   pack_halves(im[s][0], im[s][1]), pack_halves(im[s][2], im[s][3])};
        store_matrices(exchange + plane * X::kPlane + X::offset(16 * s + to_kappa, warp, j), words);
      }
    }
    __syncthreads();
    if constexpr (Q == 4) {
      const uint4 r = load_four(second_at), m = load_four(second_at + 16);
      second = {{r.x, r.y, r.z, r.w}, {m.x, m.y, m.z, m.w}};
    }
    uint32_t negative[4];
    negate(negative, second.im);
#pragma unroll
    for (int i = 0; i < Q; ++i) {
      const int kappa = Q * warp + i;
      uint32_t re[2][4], im[2][4];
      second_stage(re, im, exchange + X::offset(kappa, lane & 15, lane >> 4),
                   exchange + X::offset(kappa, lane & 15, 2 + (lane >> 4)), X::kPlane, second, negative);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        uint32_t* const to = group.line(row, 16 * kappa + g + 8 * h, tile) + 4 * t;
        *reinterpret_cast<uint4*>(to) = {re[h][0], re[h][2], re[h][1], re[h][3]};
        *reinterpret_cast<uint4*>(to + 16) = {im[h][0], im[h][2], im[h][1], im[h][3]};
      }
    }
  }
#endif
}

}  // namespace

void enter(Stream& stream, const Group& group, const Source* sources, int regions) {
  EnterArgs args{group, {}, regions * group.rows() * group.radices.lines()};
  std::copy_n(sources, regions, args.sources);
  const bool gated = std::any_of(sources, sources + regions, [](const Source& s) { return s.factor.data != nullptr; });
  with_radix(group.radices.outer, [&]<int Q>() {
    const auto run = [&](auto* kernel, int staged) {
      const size_t bytes = Exchange<Q>::kBytes + staged * 16 * Share<Q>::kBytes + (Q == 4 ? 512 * 32 : 0);
      launch(stream, kernel, blocks_for<Q>(args.items), 512, bytes, args);
    };
    gated ? run(enter_kernel<Q, true>, Q < 4 ? 2 : 1) : run(enter_kernel<Q, false>, 1);
  });
  launched("fft_conv: enter long rows");
}

}  // namespace mara::kernels::cuda::long_rows
