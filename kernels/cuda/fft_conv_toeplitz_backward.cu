// Backward Toeplitz convolution. Bound by the products, about 3 L + 256 operations an element, and by memory.
//
// With g = dy gate_out turned round in time, dx turned round is the causal convolution of g with the same filter. So a
// tile is 32 rows of x and the same 32 rows of g, in turns of eight, and one pass of products gives c and dx, both of a
// row to the same lanes. The filter's gradient comes from the same tile: dk[j] = sum of g[t] x[t - j] is the sum over
// an antidiagonal of x^T g with g turned round, and 16 x 16 tiles of x^T g on one antidiagonal of tiles are summed in
// one accumulator, over time and over the batch: 64 tiles hold all that is needed at L = 1024, four to a warp, in
// registers while they are added to and else in shared memory. Their antidiagonals are summed at the end.
//
// A block of warps takes a channel or a part of its batch, in order; a second kernel adds the parts in order.

#include "kernels/cuda/fft_conv_toeplitz.cuh"

namespace mara::kernels::cuda::toeplitz {
namespace {

constexpr int kPairs = kRows / 2;       // rows of x, and of g, in a tile
constexpr int kSumBytes = 4 * 256 * 4;  // a warp's tiles of sums
constexpr int64_t kParts = 264;         // blocks wanted; it is not the card's, for sums must not depend on that

struct Gradients {
  ChannelRows<bfloat16> du, dgate_in, dgate_out;
};

struct Backward {
  Plan plan;
  Taps taps;
  Product x, g;
  Gradients out;
  float* dk;  // (D, parts, lags) or null
  int lags, tiles, parts;
  int64_t items;

  __device__ int begin(int64_t item) const { return static_cast<int>(item % parts * tiles / parts); }
  __device__ int end(int64_t item) const { return static_cast<int>((item % parts + 1) * tiles / parts); }
  /// Tiles of the antidiagonal sums that reach the lags wanted.
  __host__ __device__ int last_sum() const { return plan.halo + plan.outputs - 1; }
  __device__ int begin_tile() const { return ::max(0, (last_sum() - lags + 1 - 30 + 15) / 16); }
  __device__ int end_tile() const { return last_sum() / 16 + 1; }
};

/// Of a tile: whether a row is of g, and which of the 32 it is.
__device__ __forceinline__ bool is_of_g(int row) { return row & 8; }
__device__ __forceinline__ int pair_of(int row) { return row / 16 * 8 + row % 8; }

/// This warp's four tiles of antidiagonal sums: from `tile` on.
struct Sums {
  float4* memory;     // of this lane, 32 float4 apart
  int exponent = 30;  // of the unit: the sum of the biased exponents of a row of x and of g
  int tile;
  bool empty = true;

  // The higher the tile the more work. Warps of one tensor core, which are four apart, have as much in sum as those of
  // another, and so have warpgroups.
  __device__ Sums(const Backward& a, unsigned char* memory, int warp, int groups)
      : memory(reinterpret_cast<float4*>(memory) + 256 * warp + threadIdx.x % 32) {
    const int turn = (warp / 4 + warp % 4) % groups;
    tile = a.begin_tile() + 4 * (4 * turn + (turn % 2 == 0 ? warp % 4 : 3 - warp % 4));
  }

  __device__ __forceinline__ void add(const Shared& shared, const Backward& a) {
    const Plan& plan = a.plan;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    // Rows have their own powers of two; those of g take the differences on the way.
    const int row = lane / 8 * 16 + lane % 8, unit = shared.exponents[row] + shared.exponents[row + 8];
    const int largest = ::max(exponent, __reduce_max_sync(0xffffffffu, unit));
    const float shrink = largest - exponent < 126 ? power_of_two(127 + exponent - largest) : 0.0f;
    exponent = largest;  // alike in all warps
    if (tile >= a.end_tile()) return;
    float c[4][2][4];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float4 sum = empty ? float4{} : memory[32 * i];
      float(&to)[4] = c[i / 2][i % 2];
      to[0] = sum.x * shrink, to[1] = sum.y * shrink, to[2] = sum.z * shrink, to[3] = sum.w * shrink;
    }
    const float weight = largest - unit < 126 ? power_of_two(127 + unit - largest) : 0.0f;
    __half2 weights[4];  // of batch rows 8 i + 2 t and the next
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 8 * i + lane % 4 * 2;
      weights[i] = __floats2half2_rn(__shfl_sync(0xffffffffu, weight, row), __shfl_sync(0xffffffffu, weight, row + 1));
    }
    const uint32_t x_lane = shared_address(shared.group(plan, lane / 8 % 2 * 8)) + (lane / 16 * 16 + lane % 8) * 16;
    const uint32_t g_lane =
        shared_address(shared.group(plan, plan.halo + lane / 16 * 8)) + (8 + lane / 8 % 2 * 16 + lane % 8) * 16;
    const int last_g = (plan.outputs - 1) / 16, last_x = (plan.halo + plan.outputs - 1) / 16;
    const auto load_g = [&](uint32_t(&to)[2][4], int q) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        to[k][0] = to[k][1] = to[k][2] = to[k][3] = 0;
        if (q < 0 || q > last_g) continue;
        load_transposed(to[k], g_lane - q * 2 * kGroupBytes + k * 32 * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const __half2 scaled = __hmul2(reinterpret_cast<const __half2&>(to[k][i]), weights[2 * k + i % 2]);
          to[k][i] = reinterpret_cast<const uint32_t&>(scaled);
        }
      }
    };
    const int begin = ::max(0, tile - last_g), end = ::min(last_x, tile + 3);
    uint32_t g[4][2][4];  // of groups tile - p to tile - p + 3
#pragma unroll
    for (int i = 0; i < 3; ++i) load_g(g[i], tile + i + 1 - begin);
#pragma unroll 4
    for (int p = begin; p <= end; ++p) {
#pragma unroll
      for (int i = 3; i > 0; --i) {
#pragma unroll
        for (int w = 0; w < 8; ++w) g[i][w / 4][w % 4] = g[i - 1][w / 4][w % 4];
      }
      load_g(g[0], tile - p);
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        uint32_t x[4];
        load_transposed(x, x_lane - p * 2 * kGroupBytes + k * 32 * 16);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          mma_half(c[i][0], x, g[i][k][0], g[i][k][1]);
          mma_half(c[i][1], x, g[i][k][2], g[i][k][3]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float(&sum)[4] = c[i / 2][i % 2];
      memory[32 * i] = make_float4(sum[0], sum[1], sum[2], sum[3]);
    }
    empty = false;
  }

  /// Sums the antidiagonals of all warps' tiles, which pass through the memory of the rows, into lags [0, lags).
  template <int kThreads>
  __device__ __forceinline__ void store(const Shared& shared, const Backward& a, float* dk) const {
    float* const tiles = reinterpret_cast<float*>(shared.tile);
    const int lane = static_cast<int>(threadIdx.x) % 32, begin = a.begin_tile();
    __syncthreads();  // the rows have been read
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (tile + i >= a.end_tile()) continue;
      float* const at = tiles + (tile + i - begin) * 256 + lane / 4 * 16 + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float4 sum = memory[32 * (2 * i + n)];
        at[8 * n] = sum.x, at[8 * n + 1] = sum.y, at[8 * n + 128] = sum.z, at[8 * n + 129] = sum.w;
      }
    }
    __syncthreads();
    const int power = exponent - 2 * (127 + 14);
    const float half = power_of_two(127 + power / 2), rest = power_of_two(127 + power - power / 2);
    for (int j = threadIdx.x; j < a.lags; j += kThreads) {
      const int sum = a.last_sum() - j, here = sum % 16;
      const float* const at = tiles + (sum / 16 - begin) * 256 + here;
      float total = 0;
#pragma unroll
      for (int row = 0; row < 16; ++row) {  // column here - row, or 16 more of the tile before
        if (row <= here) {
          total += at[15 * row];
        } else if (sum / 16 > begin) {
          total += at[15 * row + 16 - 256];
        }
      }
      dk[j] = total * half * rest;
    }
  }
};

/// One result of a block: half 0 of the accumulators is c, half 1 dx, turned round.
template <int kHalf>
__device__ __forceinline__ void store_result(const float (&c)[64], float scale, float filter_scale, const Place& place,
                                             int64_t d, const ChannelRows<bfloat16>& out,
                                             const ChannelRows<const bfloat16>& by) {
  if (out.data == nullptr) return;
  const bool scaled = by.data != nullptr;
  uint32_t factor[4][4];
  if (scaled) {
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      if (place.inside(q)) load_words(factor[q], by.at(d, place.b) + place.time(q));
    }
  }
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    uint32_t result[4];
    Quarter(c, kHalf, q, scale, filter_scale).times(factor[q], scaled, kHalf == 1, result);
    if (place.inside(q)) stream_eight(out.at(d, place.b) + place.time(q), result);
  }
}

template <int kWarpgroups>
__global__ void __launch_bounds__(128 * kWarpgroups, 4 / kWarpgroups)
    backward_kernel(const __grid_constant__ Backward a) {
  constexpr int kThreads = 128 * kWarpgroups, kWarps = kThreads / 32, kGroups = kWarpgroups;
  extern __shared__ __align__(128) unsigned char memory[];
  const Plan& plan = a.plan;
  const Shared shared(memory, plan);
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);  // known to be the same in all of the warp
  const bool rows_wanted =
      a.out.du.data != nullptr || a.out.dgate_in.data != nullptr || a.out.dgate_out.data != nullptr;
  for (int64_t item = blockIdx.x; item < a.items; item += gridDim.x) {
    const int64_t d = item / a.parts;
    const int begin = a.begin(item), end = a.end(item);
    float filter_scale = 0;
    Sums sums(a, memory + plan.shared_bytes(), warp, kWarpgroups);
    for (int tile = begin; tile < end; ++tile) {
      const int first_row = tile * kPairs;
      const auto load = [&](Row<kGroups>& row, int r) {
        row.load(is_of_g(r) ? a.g : a.x, plan, d, first_row + pair_of(r), is_of_g(r));
      };
      Row<kGroups> row;
      load(row, warp);
      __syncthreads();  // the tile before has been read
      if (tile == begin) filter_scale = scale_up(build_table<kThreads>(shared, plan, a.taps, d));
      fill_tile<kWarps>(shared, plan, warp, row, load);
      fence_for_products();
      __syncthreads();
      if (tile + 1 == end && item + gridDim.x < a.items) prefetch_taps(a.taps, plan, (item + gridDim.x) / a.parts);

      for (int pass = 0; rows_wanted; ++pass) {
        const int block = block_of(plan, pass, warp / 4, kWarpgroups);
        if (block < 0) break;
        float c[64];
        multiply_block(c, shared, plan, block);
        const int in_tile = warp % 4 * 16 + thread % 32 / 4, r = first_row + pair_of(in_tile);
        const float scale_c = scale_up(shared.exponents[in_tile]), scale_dx = scale_up(shared.exponents[in_tile + 8]);
        const Place place(plan, r, block, false), turned(plan, r, block, true);
        store_result<0>(c, scale_c, filter_scale, place, d, a.out.dgate_out, a.g.data);
        store_result<1>(c, scale_dx, filter_scale, turned, d, a.out.du, a.x.factor);
        store_result<1>(c, scale_dx, filter_scale, turned, d, a.out.dgate_in, a.x.data);
      }
      // Last: products of warps wait for those of warpgroups.
      if (a.dk != nullptr) sums.add(shared, a);
    }
    if (a.dk != nullptr) sums.store<kThreads>(shared, a, a.dk + item * a.lags);
  }
}

/// Where the sums over the parts go.
struct Totals {
  float *dk, *dskip;
  int64_t channel, tap, skip_channel, taps;
  bool accumulate_k, accumulate_skip;
};

__global__ void add_parts(const float* __restrict__ from, Totals to, int lags, int parts) {
  const int64_t d = blockIdx.x;
  for (int64_t j = blockIdx.y * blockDim.x + threadIdx.x; j < to.taps; j += gridDim.y * blockDim.x) {
    float sum = 0;
    if (j < lags) {
      for (int part = 0; part < parts; ++part) sum += from[(d * parts + part) * lags + j];
    }
    if (to.dk != nullptr) {
      float& out = to.dk[d * to.channel + j * to.tap];
      out = to.accumulate_k ? out + sum : sum;
    }
    if (j == 0 && to.dskip != nullptr) {
      float& out = to.dskip[d * to.skip_channel];
      out = to.accumulate_skip ? out + sum : sum;
    }
  }
}

}  // namespace

void backward(Stream& stream, const FftConvBackward& a) {
  using Rows = ChannelRows<const bfloat16>;
  using Out = ChannelRows<bfloat16>;
  const Plan plan(a.u, a.k);
  const int64_t channels = a.u.size(0);
  const int tiles = ceil_div(plan.rows(), kPairs);
  const int parts = static_cast<int>(std::min<int64_t>(tiles, ceil_div(kParts, channels)));
  const int lags = a.dk ? plan.taps : a.dskip ? 1 : 0;
  const auto sums = stream.scratch<float>(channels * parts * lags);
  const Backward given{plan,
                       Taps(a.k, a.skip),
                       {Rows(a.u), Rows(a.gate_in)},
                       {Rows(a.dy), Rows(a.gate_out)},
                       {Out(a.du), Out(a.dgate_in), Out(a.dgate_out)},
                       lags > 0 ? sums.get() : nullptr,
                       lags,
                       tiles,
                       parts,
                       channels * parts};
  dispatch_warpgroups(plan, [&]<int kWarpgroups>() {
    launch<kWarpgroups>(stream, "fft_conv_backward: toeplitz", backward_kernel<kWarpgroups>,
                        plan.shared_bytes() + 4 * kWarpgroups * kSumBytes, given.items, given);
  });
  if (lags == 0) return;
  const Totals totals{a.dk ? a.dk.ptr<float>() : nullptr,
                      a.dskip ? a.dskip.ptr<float>() : nullptr,
                      a.dk ? a.dk.stride[0] : 0,
                      a.dk ? a.dk.stride[1] : 0,
                      a.dskip ? a.dskip.stride[0] : 0,
                      a.dk ? a.dk.size(1) : 1,
                      a.accumulate_k,
                      a.accumulate_skip};
  constexpr int kThreads = 128;
  const dim3 grid(exact_grid(channels), static_cast<unsigned>(std::min<int64_t>(ceil_div(totals.taps, kThreads), 64)));
  add_parts<<<grid, kThreads, 0, native(stream)>>>(sums.get(), totals, lags, parts);
  launched("fft_conv_backward: toeplitz sums");
}

}  // namespace mara::kernels::cuda::toeplitz
