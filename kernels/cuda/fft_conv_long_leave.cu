// Long convolution in three phases: the outer transforms back into bf16 rows. See fft_conv_long.cuh.
//
// Bound by memory: 4 bytes an element, and 2 for each result and each factor of one.

#include <algorithm>

#include "kernels/cuda/fft_conv_long_outer.cuh"

namespace mara::kernels::cuda::long_rows {
namespace {

struct LeaveArgs {
  Group group;
  Target targets[2];
  Spectra spectra;
  float scale;
  int first_region;
  int items;
};

/// Shared memory: one or two column tiles, matrices if Q > 1, and what the results are multiplied by where that fits.
template <int Q>
struct LeaveLayout {
  static constexpr uint32_t kTiles = Q == 1 ? 2 : 1, kMatrices = kTiles * Exchange<Q>::kBytes;
  static constexpr uint32_t kFactors = kMatrices + (Q > 1 ? 16 * Q * 1024 : 0);
  static constexpr bool kStaged = Q < 4;
  static constexpr uint32_t kBytes = kFactors + (kStaged ? 2 * 16 * Share<Q>::kBytes : 512 * 32);
};

template <int Q>
__global__ void __launch_bounds__(512, Q == 1 ? 2 : 1) leave_kernel(const __grid_constant__ LeaveArgs args) {
#if __CUDA_ARCH__ >= 900
  using X = Exchange<Q>;
  using Layout = LeaveLayout<Q>;
  extern __shared__ __align__(1024) unsigned char memory[];
  let_next_start();
  const Group& group = args.group;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const uint32_t shared = shared_address(memory), matrices = shared + Layout::kMatrices + warp * (Q * 1024) + lane * 16;
  const uint32_t factors = shared + Layout::kFactors + warp * (2 * Share<Q>::kBytes);
  ComplexTile only;
#pragma unroll
  for (int a = 0; a < Q; ++a) {
    only = first_matrix<Q>(lane, a, warp, true);
    if constexpr (Q > 1) {
      store_four(matrices + a * 1024, {only.re[0], only.re[1], only.re[2], only.re[3]});
      store_four(matrices + a * 1024 + 512, {only.im[0], only.im[1], only.im[2], only.im[3]});
    }
  }
  ComplexTile second = second_matrix<Q>(lane, warp * Q / 16, true);
  const uint32_t second_at = shared + Layout::kFactors + threadIdx.x * 32;
  if constexpr (Q == 4) {  // registers are short
    store_four(second_at, {second.re[0], second.re[1], second.re[2], second.re[3]});
    store_four(second_at + 16, {second.im[0], second.im[1], second.im[2], second.im[3]});
  }

  const int begin = first_item(args.items, blockIdx.x), end = first_item(args.items, blockIdx.x + 1);
  Item item(group, begin);
  Share<Q> share{warp, group.radices.columns(), item.left(group)};
  const int lines = group.radices.lines();
  const auto row_of = [&](const Item& item) { return item.row(group) + args.first_region * group.rows(); };
  const auto copy_tile = [&](const Item& item, uint32_t exchange) {
    const int row = row_of(item), piece = lane % 8;
#pragma unroll
    for (int i = 0; i < 4 * Q; ++i) {
      const int kappa = Q * warp + i / 4, kb = i % 4 * 4 + lane / 8;
      copy_async_16(exchange + piece / 4 * X::kPlane + X::offset(kappa, kb, piece % 4),
                    group.line(row, 16 * kappa + kb, item.tile) + 4 * piece, true);
    }
    commit_copies();
  };
  const auto copy_factors = [&](const Item& item) {
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const ChannelRows<bfloat16>& by = args.targets[item.region].factor[which];
      if (by.data == nullptr || args.targets[item.region].out[which].data == nullptr) continue;
      Layout::kStaged ? share.copy(factors + which * Share<Q>::kBytes, item.at(by, group), item.tile, lane)
                      : share.prefetch(item.at(by, group), item.tile, lane);
    }
    commit_copies();
  };
  wait_for_last();
  copy_tile(item, shared);
  copy_factors(item);
  for (int index = begin; index < end; ++index) {
    const int row = row_of(item);
    const uint32_t exchange = shared + (index - begin) % Layout::kTiles * X::kBytes;
    int exponent = 0;  // of all parts
    for (int part = 0; part < group.parts && lane < lines; ++part) {
      exponent = max(exponent, group.exponents[(row - item.part + part) * lines + lane]);
    }
    exponent = __reduce_max_sync(0xffffffffu, exponent);
    const int filter_exponent = args.spectra.largest_of(group.first_channel + item.channel);
    if constexpr (Q == 4) {
      const uint4 r = load_four(second_at), m = load_four(second_at + 16);
      second = {{r.x, r.y, r.z, r.w}, {m.x, m.y, m.z, m.w}};
    }
    uint32_t negative[4];
    negate(negative, second.im);
    wait_for_copies<1>();
    __syncwarp();
#pragma unroll
    for (int i = 0; i < Q; ++i) {
      const int kappa = Q * warp + i;
      uint32_t re[2][4], im[2][4];  // of nb = g + 8 h
      second_stage(re, im, exchange + X::offset(kappa, lane & 15, lane >> 4),
                   exchange + X::offset(kappa, lane & 15, 2 + (lane >> 4)), X::kPlane, second, negative);
      __syncwarp();  // all have read this kappa
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint32_t at = exchange + X::offset(kappa, g + 8 * h, t);
        store_four(at, {re[h][0], re[h][1], re[h][2], re[h][3]});
        store_four(at + X::kPlane, {im[h][0], im[h][1], im[h][2], im[h][3]});
      }
    }
    __syncthreads();  // also: all have read the tile before this one
    Item next = item;
    next.next(group);
    const bool more = index + 1 < end;
    if (Layout::kTiles == 2 && more) copy_tile(next, shared + (index + 1 - begin) % 2 * X::kBytes);
    // n-tile p of the pieces above holds columns 16 (n & 1) + 4 (n >> 1) + j, j = 0, 2, 1, 3.
    float c[Q][4][4] = {};
#pragma unroll
    for (int both = 0; both < 2; ++both) {
      ComplexTile z[Q];  // of kappa, two n-tiles as b operands
#pragma unroll
      for (int s = 0; s < Q; ++s) {
        const uint32_t at = exchange + X::offset(16 * s + (lane & 15), warp, 2 * both + (lane >> 4));
        load_transposed(z[s].re, at);
        load_transposed(z[s].im, at + X::kPlane);
      }
      combine<Q, true>(z);
#pragma unroll
      for (int a = 0; a < Q; ++a) {
        ComplexTile matrix = only;
        if constexpr (Q > 1) {
          const uint4 r = load_four(matrices + a * 1024), i = load_four(matrices + a * 1024 + 512);
          matrix = {{r.x, r.y, r.z, r.w}, {i.x, i.y, i.z, i.w}};
        }
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          mma_half(c[a][2 * both + n], matrix.re, z[a].re[2 * n], z[a].re[2 * n + 1]);
          mma_half(c[a][2 * both + n], matrix.im, z[a].im[2 * n], z[a].im[2 * n + 1]);
        }
      }
    }
    const Target& target = args.targets[item.region];
    if constexpr (Layout::kTiles == 1) {
      __syncthreads();
      if (more) copy_tile(next, shared);
    }
    if (!more) commit_copies();
    wait_for_copies<1>();  // for the factors
    __syncwarp();
    const float scale =
        power_of_two(exponent) * args.scale * __uint_as_float(static_cast<uint32_t>(filter_exponent) << 23);
#pragma unroll 1
    for (int which = 0; which < 2; ++which) {
      if (target.out[which].data == nullptr) continue;
      bfloat16* const out = item.at(target.out[which], group);
      const bool by = target.factor[which].data != nullptr;
      uint2 held[2][2][2] = {};  // factors of two a, where they are not staged
      // Two lanes change fours, so that each has eight neighbours: columns from 4 t on where t is even, else 12 + 4 t.
      const bool odd = t & 1;
      const int column = 32 * item.tile + (odd ? 12 : 0) + 4 * t;
#pragma unroll
      for (int a = 0; a < Q; ++a) {
        if (!Layout::kStaged && a % 2 == 0 && by) {
          const bfloat16* const factor = item.at(target.factor[which], group);
#pragma unroll
          for (int part = 0; part < 8; ++part) {
            const int h = part / 2 % 2, i = part % 2;
            const int n = share.at(a + part / 4, g + 8 * h, 32 * item.tile + 16 * i + 4 * t);
            if (n < share.length) held[part / 4][h][i] = load_now(factor + n);
          }
        }
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const float left[4] = {c[a][0][2 * h], c[a][2][2 * h], c[a][1][2 * h], c[a][3][2 * h]};
          const float right[4] = {c[a][0][2 * h + 1], c[a][2][2 * h + 1], c[a][1][2 * h + 1], c[a][3][2 * h + 1]};
          uint2 own[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const float(&four)[4] = i == 0 ? left : right;
            uint2 factor_four{};
            if constexpr (!Layout::kStaged) {
              factor_four = held[a % 2][h][i];
            } else if (by) {
              factor_four = load_two(factors + which * Share<Q>::kBytes + (16 * a + g + 8 * h) * 64 + 32 * i + 8 * t);
            }
            own[i] = by ? scaled(four, scale, factor_four) : scaled(four, scale);
          }
          uint2 other = odd ? own[0] : own[1];
          other.x = __shfl_xor_sync(0xffffffffu, other.x, 1), other.y = __shfl_xor_sync(0xffffffffu, other.y, 1);
          const uint4 eight =
              odd ? uint4{other.x, other.y, own[1].x, own[1].y} : uint4{own[0].x, own[0].y, other.x, other.y};
          const int n = share.at(a, g + 8 * h, column);
          if (n < share.length) __stcs(reinterpret_cast<uint4*>(out + n), eight);
        }
      }
    }
    __syncwarp();  // all have read the factors
    item = next;
    share.length = item.left(group);
    if (more) copy_factors(item);
  }
#endif
}

}  // namespace

void leave(Stream& stream, const Group& group, const Spectra& spectra, const Target* targets, int first_region,
           int regions) {
  LeaveArgs args{.group = group,
                 .targets = {},
                 .spectra = spectra,
                 .scale = inverse_scale(group.radices),
                 .first_region = first_region,
                 .items = regions * group.rows() * group.radices.lines()};
  std::copy_n(targets, regions, args.targets);
  with_radix(group.radices.outer, [&]<int Q>() {
    launch(stream, leave_kernel<Q>, blocks_for<Q>(args.items), 512, LeaveLayout<Q>::kBytes, args);
  });
  launched("fft_conv: leave long rows");
}

}  // namespace mara::kernels::cuda::long_rows
