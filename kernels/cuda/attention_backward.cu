// Gradients of softmax attention on tensor cores, in two kernels, each with its own owner of every output, so that no
// sum crosses blocks: dq, whose blocks own queries and walk over keys, then dk and dv, whose blocks own keys and walk
// over queries. With P = exp(scale q k^T - lse) and D = rowsum(do o):
//   dS = P (do v^T - D),   dq = scale dS k,   dk = scale dS^T q,   dv = P^T do.
// P and do v^T are computed in both: 7 products of L^2 C multiplications instead of the 5 of one kernel for all three.
// That one would add its dq up in device memory, in a fixed order for the same bits, and pass P and dS through shared
// memory. Here both stay in registers: the kernel for dk and dv computes the transposed scores, whose accumulators are
// operands of the next product as they are.

#include "kernels/cuda/attention.cuh"
#include "kernels/kernels.h"

namespace mara::kernels::cuda {
namespace attention {
namespace {

/// D of a lane's rows g, g + 8, ..., from do and o as operands.
template <int Columns, int M>
__device__ __forceinline__ void row_dots(float (&dots)[2 * M], const uint32_t (&d_o)[M][Columns / 16][4],
                                         uint32_t lane) {
  using Tile = SharedRows<Columns>;
#pragma unroll
  for (int row = 0; row < 2 * M; ++row) dots[row] = 0;
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int k = 0; k < Columns / 16; ++k) {
      uint32_t o[4];
      load_matrices(o, Tile::columns(lane, k) + 16 * m * Tile::kRowBytes);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& dot = dots[2 * m + i % 2];
        dot = fmaf(low_of(o[i]), low_of(d_o[m][k][i]), dot);
        dot = fmaf(high_of(o[i]), high_of(d_o[m][k][i]), dot);
      }
    }
  }
#pragma unroll
  for (int row = 0; row < 2 * M; ++row) dots[row] = quad_sum(dots[row]);
}

template <int Columns>
__global__ void __launch_bounds__(kThreads, 2) dq_kernel(const __grid_constant__ Backward<bfloat16> args) {
  using P = Plan<Columns>;
  using Tile = SharedRows<Columns>;
  constexpr int kM = P::kM, kN = 8 / kM;  // scores of 8 kN keys at a time: what registers hold
  extern __shared__ __align__(1024) unsigned char shared[];
  const Sizes& sizes = args.sizes;
  const int tiles = sizes.tiles(P::kRows);
  const Head head(static_cast<int>(blockIdx.x) / tiles, sizes);
  const int first_query = (tiles - 1 - static_cast<int>(blockIdx.x) % tiles) * P::kRows;
  const int warp = warp_index(), lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_query = first_query + warp * P::kWarpRows;
  const uint32_t q_tile = shared_address(shared), d_o_tile = q_tile + P::kTileBytes;
  const uint32_t ring = d_o_tile + P::kTileBytes;  // of keys, then of values

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
  copy_rows<Columns, P::kRows>(d_o_tile, head.rows(args.d_o), first_query, sizes);
  // o is needed once, before the first step that is copied over it.
  static_assert(P::kRows <= 2 * P::kStep);
  const uint32_t o_tile = ring + P::copied(0) * P::kRowBytes;
#pragma unroll
  for (int part = 0; part < P::kRows / P::kStep; ++part) {
    copy_rows<Columns, P::kStep>(o_tile + part * P::kRingBytes, head.rows(args.o), first_query + part * P::kStep,
                                 sizes);
  }
#pragma unroll
  for (int step = 0; step < P::kAhead; ++step) copy_step(step * P::kStep, step * P::kStep);
  wait_for_copies<P::kAhead - 1>();
  __syncthreads();

  const uint32_t warp_rows = warp * P::kWarpRows * P::kRowBytes + Tile::lane_as_rows(lane);
  const int o_part = warp * P::kWarpRows / P::kStep;
  uint32_t q[kM][Columns / 16][4], d_o[kM][Columns / 16][4];
  load_operand<Columns>(q, q_tile + warp_rows);
  load_operand<Columns>(d_o, d_o_tile + warp_rows);
  float dots[2 * kM], lse[2 * kM];  // of the rows g, g + 8, ... of this lane; lse in base 2
  row_dots<Columns, kM>(dots, d_o, o_tile + warp_rows + o_part * (P::kRingBytes - P::kStep * P::kRowBytes));
#pragma unroll
  for (int row = 0; row < 2 * kM; ++row) {
    const int query = warp_query + 8 * row + lane / 4;
    const bool present = query < sizes.length;
    lse[row] = present ? head.numbers(args.lse)[query] * kLog2e : 0.0f;
    if (present && lane % 4 == 0) head.numbers(args.dots)[query] = dots[row];
  }

  float dq[kM][Columns / 8][4] = {};
  const float scale = sizes.scale * kLog2e;
  for (int key = 0, row = 0; key < key_limit; key += 8 * kN, row = P::next(row, 8 * kN)) {
    if (key % P::kStep == 0) {
      wait_for_copies<P::kAhead - 1>();
      __syncthreads();
      copy_step(key + P::kAhead * P::kStep, P::copied(row));
    }
    if (sizes.causal && key >= warp_query + P::kWarpRows) continue;
    const uint32_t k_rows = ring + row * P::kRowBytes, v_rows = k_rows + P::kRingBytes;

    float p[kM][kN][4] = {}, ds[kM][kN][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) ds[m][n][i] = -dots[2 * m + i / 2];
      }
    }
    multiply_transposed<Columns>(p, q, k_rows + Tile::lane_as_columns(lane));
    multiply_transposed<Columns>(ds, d_o, v_rows + Tile::lane_as_columns(lane));
    hide_unseen(p, warp_query, key, sizes);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) ds[m][n][i] *= fast_exp2(fmaf(p[m][n][i], scale, -lse[2 * m + i / 2]));
      }
    }
    multiply<Columns>(dq, ds, k_rows + Tile::lane_as_rows(lane));
  }

  float factors[2 * kM];
#pragma unroll
  for (int row = 0; row < 2 * kM; ++row) factors[row] = sizes.scale;
  store_rows<Columns>(dq, factors, shared + warp * P::kWarpRows * P::kRowBytes, head.rows(args.dqkv, 0), warp_query,
                      sizes);
}

template <int Columns>
__global__ void __launch_bounds__(kThreads, 2) dkv_kernel(const __grid_constant__ Backward<bfloat16> args) {
  using P = Plan<Columns>;
  using Tile = SharedRows<Columns>;
  constexpr int kM = P::kM, kN = 4 / kM;  // scores of 8 kN queries at a time: what registers hold
  extern __shared__ __align__(1024) unsigned char shared[];
  const Sizes& sizes = args.sizes;
  const int tiles = sizes.tiles(P::kRows);
  const Head head(static_cast<int>(blockIdx.x) / tiles, sizes);
  const int first_key = static_cast<int>(blockIdx.x) % tiles * P::kRows;
  const int warp = warp_index(), lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_key = first_key + warp * P::kWarpRows;
  const uint32_t k_tile = shared_address(shared), v_tile = k_tile + P::kTileBytes;
  const uint32_t ring = v_tile + P::kTileBytes;  // of queries, of do, then of lse and of D
  constexpr int kNumbers = 2 * P::kTileBytes + 2 * P::kRingBytes;

  const HeadRows queries = head.rows(args.qkv, 0), d_outputs = head.rows(args.d_o);
  const float *lse = head.numbers(args.lse), *dots = head.numbers(args.dots);
  const int begin = sizes.causal ? first_key : 0;  // the first query that sees a key of this block
  const auto copy_step = [&](int query, int row) {
    if (query < sizes.length) {
      copy_rows<Columns, P::kStep>(ring + row * P::kRowBytes, queries, query, sizes);
      copy_rows<Columns, P::kStep>(ring + P::kRingBytes + row * P::kRowBytes, d_outputs, query, sizes);
      static_assert(2 * P::kStep == kThreads);
      const int thread = fresh_thread_index(), i = thread % P::kStep;
      const bool is_lse = thread < P::kStep;
      copy_async_4(k_tile + kNumbers + 4 * (row + i + (is_lse ? 0 : P::kRing)), (is_lse ? lse : dots) + query + i,
                   query + i < sizes.length);
    }
    commit_copies();
  };
  copy_rows<Columns, P::kRows>(k_tile, head.rows(args.qkv, 1), first_key, sizes);
  copy_rows<Columns, P::kRows>(v_tile, head.rows(args.qkv, 2), first_key, sizes);
#pragma unroll
  for (int step = 0; step < P::kAhead; ++step) copy_step(begin + step * P::kStep, step * P::kStep);
  wait_for_copies<P::kAhead - 1>();
  __syncthreads();

  const uint32_t warp_rows = warp * P::kWarpRows * P::kRowBytes;
  uint32_t k[kM][Columns / 16][4], v[kM][Columns / 16][4];
  load_operand<Columns>(k, k_tile + warp_rows + Tile::lane_as_rows(lane));
  load_operand<Columns>(v, v_tile + warp_rows + Tile::lane_as_rows(lane));

  float dk[kM][Columns / 8][4] = {}, dv[kM][Columns / 8][4] = {};
  const float scale = sizes.scale * kLog2e;
  // Queries beyond the end are zeros in q, do, lse and D, and add zeros.
  for (int query = begin, row = 0; query < sizes.length; query += 8 * kN, row = P::next(row, 8 * kN)) {
    if (query % P::kStep == 0) {
      wait_for_copies<P::kAhead - 1>();
      __syncthreads();
      copy_step(query + P::kAhead * P::kStep, P::copied(row));
    }
    if (sizes.causal && query + 8 * kN <= warp_key) continue;
    const uint32_t q_rows = ring + row * P::kRowBytes, d_o_rows = q_rows + P::kRingBytes;
    const float* numbers = reinterpret_cast<const float*>(shared + kNumbers) + row + lane % 4 * 2;

    float p[kM][kN][4] = {}, ds[kM][kN][4];
#pragma unroll
    for (int n = 0; n < kN; ++n) {
      const float2 dot = *reinterpret_cast<const float2*>(numbers + P::kRing + 8 * n);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        ds[m][n][0] = ds[m][n][2] = -dot.x;
        ds[m][n][1] = ds[m][n][3] = -dot.y;
      }
    }
    multiply_transposed<Columns>(p, k, q_rows + Tile::lane_as_columns(lane));
    multiply_transposed<Columns>(ds, v, d_o_rows + Tile::lane_as_columns(lane));
    if (sizes.causal && query < warp_key + P::kWarpRows - 1) {
      const int own = fresh_thread_index() % 32, ahead = warp_key + own / 4 - query - own % 4 * 2;
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int n = 0; n < kN; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (ahead + 16 * m + i / 2 * 8 > 8 * n + i % 2) p[m][n][i] = -INFINITY;
          }
        }
      }
    }
#pragma unroll
    for (int n = 0; n < kN; ++n) {
      const float2 lse_pair = *reinterpret_cast<const float2*>(numbers + 8 * n);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          p[m][n][i] = fast_exp2(fmaf(p[m][n][i], scale, -kLog2e * (i % 2 == 0 ? lse_pair.x : lse_pair.y)));
          ds[m][n][i] *= p[m][n][i];
        }
      }
    }
    multiply<Columns>(dv, p, d_o_rows + Tile::lane_as_rows(lane));
    multiply<Columns>(dk, ds, q_rows + Tile::lane_as_rows(lane));
  }

  float factors[2 * kM];
#pragma unroll
  for (int row = 0; row < 2 * kM; ++row) factors[row] = sizes.scale;
  store_rows<Columns>(dk, factors, shared + warp_rows, head.rows(args.dqkv, 1), warp_key, sizes);
#pragma unroll
  for (int row = 0; row < 2 * kM; ++row) factors[row] = 1;
  store_rows<Columns>(dv, factors, shared + P::kTileBytes + warp_rows, head.rows(args.dqkv, 2), warp_key, sizes);
}

}  // namespace
}  // namespace attention

void attention_backward(Stream& stream, const AttentionBackward& args) {
  const attention::Sizes sizes(args.qkv, args.heads, args.scale, args.causal);
  if (args.o.numel() == 0) return;
  if (!attention::on_tensor_cores(args.qkv, sizes, args.d_o.data, args.o.data, args.dqkv.data)) {
    return attention::general_backward(stream, args);
  }
  const auto dots = stream.scratch<float>(args.lse.numel());
  const attention::Backward<bfloat16> given{args.d_o.ptr<bfloat16>(),
                                            args.qkv.ptr<bfloat16>(),
                                            args.o.ptr<bfloat16>(),
                                            args.lse.ptr<float>(),
                                            args.dqkv.ptr<bfloat16>(),
                                            dots,
                                            sizes};
  attention::dispatch_width(sizes.width, [&]<int Columns>() {
    using P = attention::Plan<Columns>;
    const int64_t blocks = args.qkv.size(0) * args.heads * sizes.tiles(P::kRows);
    attention::launch(stream, "attention_backward: dq", attention::dq_kernel<Columns>, given, blocks,
                      attention::kThreads, 2 * P::kTileBytes + 2 * P::kRingBytes);
    attention::launch(stream, "attention_backward: dk, dv", attention::dkv_kernel<Columns>, given, blocks,
                      attention::kThreads, 2 * P::kTileBytes + 2 * P::kRingBytes + P::kNumbersBytes);
  });
}

}  // namespace mara::kernels::cuda
