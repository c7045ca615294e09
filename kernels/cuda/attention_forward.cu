// Softmax attention on tensor cores (Dao, 2307.08691): bound by the products, 2 L C numbers a token and head, and by
// the exponentials, which share the time at heads of 64.
//
// A block of 4 warps owns a tile of queries of one head and walks over the keys it sees, 64 at a time, through rings
// of rows in shared memory. A warp owns 32 queries (16 where heads are wider than 64): each operand read from shared
// memory then serves two products, without which its bandwidth would be the bound. Scores and probabilities stay in
// registers. Blocks of one head are neighbours, so its keys and values are read from L2, those with most keys first.

#include "kernels/cuda/attention.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace attention {
namespace {

template <int Columns>
__global__ void __launch_bounds__(kThreads, 2) forward_kernel(const __grid_constant__ Forward<bfloat16> args) {
  using P = Plan<Columns>;
  using Tile = SharedRows<Columns>;
  constexpr int kM = P::kM, kN = P::kStep / 8;
  extern __shared__ __align__(1024) unsigned char shared[];
  const Sizes& sizes = args.sizes;
  const int tiles = sizes.tiles(P::kRows);
  const Head head(static_cast<int>(blockIdx.x) / tiles, sizes);
  const int first_query = (tiles - 1 - static_cast<int>(blockIdx.x) % tiles) * P::kRows;
  const int warp = warp_index(), lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_query = first_query + warp * P::kWarpRows;
  const uint32_t q_tile = shared_address(shared), ring = q_tile + P::kTileBytes;  // of keys, then of values

  const HeadRows keys = head.rows(args.qkv, 1), values = head.rows(args.qkv, 2);
  const int key_limit = sizes.causal ? min(sizes.length, first_query + P::kRows) : sizes.length;
  const auto copy_step = [&](int key, int row) {
    if (key < key_limit) {
      copy_rows<Columns, P::kStep>(ring + row * P::kRowBytes, keys, key, sizes);
      copy_rows<Columns, P::kStep>(ring + P::kRingBytes + row * P::kRowBytes, values, key, sizes);
    }
    commit_copies();
  };
  copy_rows<Columns, P::kRows>(q_tile, head.rows(args.qkv, 0), first_query, sizes);
#pragma unroll
  for (int step = 0; step < P::kAhead; ++step) copy_step(step * P::kStep, step * P::kStep);
  wait_for_copies<P::kAhead - 1>();
  __syncthreads();
  uint32_t q[kM][Columns / 16][4];
  load_operand<Columns>(q, q_tile + warp * P::kWarpRows * P::kRowBytes + Tile::lane_as_rows(lane));

  // Of the rows g, g + 8, ... of this lane: the largest score so far, and this lane's share of the sum.
  float max[2 * kM], sum[2 * kM], o[kM][Columns / 8][4] = {};
#pragma unroll
  for (int row = 0; row < 2 * kM; ++row) max[row] = -INFINITY, sum[row] = 0;
  const float scale = sizes.scale * kLog2e;

  for (int key = 0, row = 0; key < key_limit; key += P::kStep, row = P::next(row, P::kStep)) {
    wait_for_copies<P::kAhead - 1>();
    __syncthreads();
    copy_step(key + P::kAhead * P::kStep, P::copied(row));
    if (sizes.causal && key >= warp_query + P::kWarpRows) continue;
    const uint32_t k_rows = ring + row * P::kRowBytes, v_rows = k_rows + P::kRingBytes;

    float s[kM][kN][4] = {};
    multiply_transposed<Columns>(s, q, k_rows + Tile::lane_as_columns(lane));
    // Every row sees the first key of every step that is not skipped, so no maximum stays at minus infinity.
    hide_unseen(s, warp_query, key, sizes);

    float before[2 * kM];
    bool grown = false;
#pragma unroll
    for (int r = 0; r < 2 * kM; ++r) {
      before[r] = max[r];
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        max[r] = fmaxf(max[r], fmaxf(s[r / 2][n][r % 2 * 2], s[r / 2][n][r % 2 * 2 + 1]));
      }
      max[r] = quad_max(max[r]);
      grown |= max[r] > before[r];
    }
    if (__any_sync(0xffffffffu, grown)) {  // rare after the first steps, and a factor of one changes nothing
#pragma unroll
      for (int r = 0; r < 2 * kM; ++r) {
        const float shrink = fast_exp2((before[r] - max[r]) * scale);
        sum[r] *= shrink;
#pragma unroll
        for (int n = 0; n < Columns / 8; ++n) {
          o[r / 2][n][r % 2 * 2] *= shrink;
          o[r / 2][n][r % 2 * 2 + 1] *= shrink;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < 2 * kM; ++r) {
      const float scaled_max = max[r] * scale;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int i = r % 2 * 2; i < r % 2 * 2 + 2; ++i) {
          float& p = s[r / 2][n][i];
          p = fast_exp2(fmaf(p, scale, -scaled_max));
          sum[r] += p;
        }
      }
    }
    multiply<Columns>(o, s, v_rows + Tile::lane_as_rows(lane));
  }

  float factors[2 * kM], *lse = head.numbers(args.lse);
#pragma unroll
  for (int row = 0; row < 2 * kM; ++row) {
    sum[row] = quad_sum(sum[row]);
    factors[row] = 1 / sum[row];
    const int query = warp_query + 8 * row + lane / 4;
    if (lane % 4 == 0 && query < sizes.length) lse[query] = fmaf(max[row], sizes.scale, logf(sum[row]));
  }
  store_rows<Columns>(o, factors, shared + warp * P::kWarpRows * P::kRowBytes, head.rows(args.o), warp_query, sizes);
}

}  // namespace
}  // namespace attention

void attention_forward(Stream& stream, const AttentionForward& args) {
  const attention::Sizes sizes(args.qkv, args.heads, args.scale, args.causal);
  if (args.o.numel() == 0) return;
  if (!attention::on_tensor_cores(args.qkv, sizes, args.o.data)) return attention::general_forward(stream, args);
  const attention::Forward<bfloat16> given{args.qkv.ptr<bfloat16>(), args.o.ptr<bfloat16>(), args.lse.ptr<float>(),
                                           sizes};
  attention::dispatch_width(sizes.width, [&]<int Columns>() {
    using P = attention::Plan<Columns>;
    const int64_t blocks = args.qkv.size(0) * args.heads * sizes.tiles(P::kRows);
    attention::launch(stream, "attention_forward", attention::forward_kernel<Columns>, given, blocks,
                      attention::kThreads, P::kTileBytes + 2 * P::kRingBytes);
  });
}

}  // namespace mara::kernels::cuda
