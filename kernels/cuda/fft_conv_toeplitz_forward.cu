// Forward Toeplitz convolution. Bound by the products, L + 128 operations an element at the rate of warpgroup products,
// and by memory, which are about even at L = 1024.
//
// A block of warps strides over tiles of 64 rows, tiles of one channel in turn. Where tiles are small, two blocks to a
// multiprocessor overlap the reading of one with the products of another.

#include "kernels/cuda/fft_conv_toeplitz.cuh"

namespace mara::kernels::cuda::toeplitz {
namespace {

struct Forward {
  Plan plan;
  Taps taps;
  Product x;
  ChannelRows<const bfloat16> gate_out;
  ChannelRows<bfloat16> y;
  int tiles;  // of a channel
  int64_t items;
};

template <int kWarpgroups>
__global__ void __launch_bounds__(128 * kWarpgroups, 4 / kWarpgroups)
    forward_kernel(const __grid_constant__ Forward a) {
  constexpr int kThreads = 128 * kWarpgroups, kWarps = kThreads / 32, kGroups = kWarpgroups;
  extern __shared__ __align__(128) unsigned char memory[];
  const Plan& plan = a.plan;
  const Shared shared(memory, plan);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);  // known to be the same in all of the warp
  const bool gated = a.gate_out.data != nullptr;
  const int64_t begin = a.items * blockIdx.x / gridDim.x, end = a.items * (blockIdx.x + 1) / gridDim.x;
  int64_t channel = -1;
  int filter_exponent = 0;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t d = item / a.tiles;
    const int first_row = static_cast<int>(item - d * a.tiles) * kRows;
    const auto load = [&](Row<kGroups>& row, int r) { row.load(a.x, plan, d, first_row + r, false); };
    Row<kGroups> row;
    load(row, warp);
    __syncthreads();  // the products of the item before are done
    if (d != channel) filter_exponent = build_table<kThreads>(shared, plan, a.taps, d);
    channel = d;
    fill_tile<kWarps>(shared, plan, warp, row, load);
    fence_for_products();
    __syncthreads();
    if (item + 1 < end) {
      const int64_t next = (item + 1) / a.tiles;
      if (next != d) prefetch_taps(a.taps, plan, next);
      // With gates the cache is too small for the rows of all multiprocessors.
      if (!gated && a.x.factor.data == nullptr && thread < kRows) {
        prefetch_row(a.x.data, plan, next, static_cast<int>(item + 1 - next * a.tiles) * kRows + thread);
      }
    }

    for (int pass = 0;; ++pass) {
      const int block = block_of(plan, pass, warp / 4, kWarpgroups);
      if (block < 0) break;
      const int in_tile = warp % 4 * 16 + lane / 4;
      float c[64];
      multiply_block(c, shared, plan, block);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Place place(plan, first_row + in_tile + 8 * half, block, false);
        const float scale = scale_up(shared.exponents[in_tile + 8 * half]);
        uint32_t gate[4][4];
        if (gated) {
#pragma unroll
          for (int q = 0; q < 4; ++q) {
            if (place.inside(q)) load_words(gate[q], a.gate_out.at(d, place.b) + place.time(q));
          }
        }
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          uint32_t result[4];
          Quarter(c, half, q, scale, scale_up(filter_exponent)).times(gate[q], gated, false, result);
          if (place.inside(q)) stream_eight(a.y.at(d, place.b) + place.time(q), result);
        }
      }
    }
  }
}

template <class Args>
bool plan_fits(const Args& a) {
  return a.u.numel() > 0 && a.u.dtype == Dtype::bf16 && a.form == ConvForm::causal && !a.k_reverse &&
         a.u.size(2) % 8 == 0 && (a.u.size(2) <= kLongest || (a.k.size(1) <= kMostTaps && a.u.size(2) < 1 << 30)) &&
         a.u.size(1) * ceil_div(a.u.size(2), kPiece) < 1 << 30 && have_warpgroup_products();
}

}  // namespace

bool takes(const FftConvForward& a) { return plan_fits(a) && all_take_16_bytes(a.u, a.gate_in, a.gate_out, a.y); }
bool takes(const FftConvBackward& a) {
  return plan_fits(a) && all_take_16_bytes(a.dy, a.u, a.gate_in, a.gate_out, a.du, a.dgate_in, a.dgate_out);
}

void forward(Stream& stream, const FftConvForward& a) {
  using Rows = ChannelRows<const bfloat16>;
  const Plan plan(a.u, a.k);
  const int tiles = ceil_div(plan.rows(), kRows);
  const Forward given{
      plan,  Taps(a.k, a.skip),  {Rows(a.u), Rows(a.gate_in)}, Rows(a.gate_out), ChannelRows<bfloat16>(a.y),
      tiles, tiles * a.u.size(0)};
  dispatch_warpgroups(plan, [&]<int kWarpgroups>() {
    launch<kWarpgroups>(stream, "fft_conv_forward: toeplitz", forward_kernel<kWarpgroups>, plan.shared_bytes(),
                        given.items, given);
  });
}

}  // namespace mara::kernels::cuda::toeplitz
