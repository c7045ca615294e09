// Fused long convolution backward of rows of any length, for filters of up to a chunk of 4096 taps. See
// fft_conv_chunks.cuh and fft_conv_fused_backward.cu.
//
// A row is walked from its end: with W_c = G_c + i G_(c+1), conj(H) W_c goes back to dx and W_c conj X_c is added to
// the channel's sum in registers; H (X_c - i X_(c-1)) goes back to c, for dgate_out, one step late. A block that begins
// within a row repeats the step before, for its spectra, and sends that chunk's c; one that ends a row sends its last c
// by itself.
//
// Bound as the kernel for whole rows is: a step is one of its steps and two half-precision additions of tiles.

#include <algorithm>

#include "kernels/cuda/fft_conv_chunks.cuh"
#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.h"

namespace mara::kernels::cuda::fused {
namespace {

constexpr int kPoints = 4096;

struct BackwardArgs {
  Walk dy, u, gate_in, gate_out, du, dgate_in, dgate_out;
  FilterSpectra filters;
  float4* sums;
  Segments segments;  // of steps
  int batches, length, chunks;
};

/// Shared memory: the transform's of g and x, their neighbours' spectra, then staged rows, of dy for three steps where
/// c needs it.
template <bool kGateIn, bool kGateOut>
struct BackwardLayout {
  static constexpr uint32_t kRow = StagedRow<1>::kBytes, kSpectrum = 16 * 1024, kDyRows = kGateOut ? 3 : 2;
  static constexpr uint32_t kCarried = RowTransform<1>::kBytes, kDy = kCarried + (1 + kGateOut) * kSpectrum;
  static constexpr uint32_t kGateOutAt = kDy + kDyRows * kRow, kU = kGateOutAt + kGateOut * kRow;
  static constexpr uint32_t kGateInAt = kU + 2 * kRow;
  static constexpr uint32_t kBarriers = kGateInAt + kGateIn * 2 * kRow, kBytes = kBarriers + 48;
};

template <bool kGateIn, bool kGateOut>
__global__ void __launch_bounds__(512, 1) backward_kernel(const __grid_constant__ BackwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Layout = BackwardLayout<kGateIn, kGateOut>;
  using Row = StagedRow<1>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout::kBarriers;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const SplitBarrier entered[2] = {{barriers}, {barriers + 8}}, inverted[2] = {{barriers + 16}, {barriers + 24}};
  const CopyBarrier filled[2] = {{barriers + 32}, {barriers + 40}};  // with g, with x
  if (threadIdx.x == 0) {
    for (int z = 0; z < 2; ++z) entered[z].init(512), inverted[z].init(512), filled[z].init(512);
  }
  const RowTransform<1> transform(shared, lane, warp);
  const CarriedTile g_after{shared + Layout::kCarried + warp * 1024 + lane * 16};
  const CarriedTile x_after{g_after.address + Layout::kSpectrum};
  __syncthreads();

  const int64_t begin = args.segments.begin(blockIdx.x), end = args.segments.begin(blockIdx.x + 1);
  int index = static_cast<int>(begin % args.chunks);  // of the step in its row, whose chunks it counts from the end
  const bool repeats = index > 0;
  index -= repeats;
  int64_t d = begin / args.chunks / args.batches;
  int b = static_cast<int>(begin / args.chunks % args.batches);
  const auto start = [&](const Walk& walk, int64_t d, int b, int index) {
    return walk.rows.at(d, b) + kPoints * static_cast<int64_t>(args.chunks - 1 - index);
  };
  const auto left = [&](int index) { return args.length - (args.chunks - 1 - index) * kPoints; };
  const auto first = [&](const Walk& walk) { return start(walk, d, b, index); };
  const auto move = [&](const Walk& walk, bfloat16*& row, bool last_of_row) {
    const bool last_of_channel = b + 1 == args.batches;
    row = last_of_row ? start(walk, d + last_of_channel, last_of_channel ? 0 : b + 1, 0) : row - kPoints;
  };
  bfloat16 *dy = first(args.dy), *u = first(args.u), *gate_in = first(args.gate_in), *gate_out = first(args.gate_out);
  bfloat16 *du = first(args.du), *dgate_in = first(args.dgate_in), *dgate_out = first(args.dgate_out);
  const uint32_t gate_out_row = shared + Layout::kGateOutAt;
  const auto dy_row = [&](uint32_t turn) { return shared + Layout::kDy + turn % Layout::kDyRows * Layout::kRow; };
  const auto u_row = [&](uint32_t turn) { return shared + Layout::kU + turn % 2 * Layout::kRow; };
  const auto gate_in_row = [&](uint32_t turn) { return shared + Layout::kGateInAt + turn % 2 * Layout::kRow; };
  const auto copy = [&](uint32_t turn, int length) {
    Row::copy(dy_row(turn), dy, length, true, lane, warp);
    if constexpr (kGateOut) Row::copy(gate_out_row, gate_out, length, true, lane, warp);
    filled[0].arrive_with_copies();
    Row::copy(u_row(turn), u, length, true, lane, warp);
    if constexpr (kGateIn) Row::copy(gate_in_row(turn), gate_in, length, true, lane, warp);
    filled[1].arrive_with_copies();
  };
  copy(0, left(index));

  const uint32_t turns = static_cast<uint32_t>(end - begin) + repeats;
  ComplexTile filter;
  float filter_scale = 0;
  TileSum sum{};
  CarriedScale g_carried, x_carried;
  bool new_filter = true;
  // The chunk of the step before leaves as c, when its spectrum with what wraps around is inverted.
  const auto c_leaves = [&](uint32_t turn, int exponent, float filter_scale, int left) {
    inverted[1].wait(turn);
    if constexpr (kGateOut) {
      if (turn == 0 || !args.dgate_out.present()) return;
      const StorePlace<1> place(left, transform.n2(), lane);
      const float scale = power_of_two(exponent) * filter_scale;
      transform.leave(1, [&](int a, int h, const float(&c)[4]) {
        place.store(dgate_out, a, h, scaled(c, scale, load_two(dy_row(turn - 1) + transform.fours(a, h))));
      });
    }
  };
  for (uint32_t turn = 0; turn < turns; ++turn) {
    const bool alone = index == 0 || turn == 0, repeated = repeats && turn == 0;
    filled[0].wait(turn);
    transform.template enter<kGateOut>(0, dy_row(turn), gate_out_row);
    entered[0].arrive();
    filled[1].wait(turn);
    transform.template enter<kGateIn>(1, u_row(turn), gate_in_row(turn));
    entered[1].arrive();
    const bool other_filter = new_filter;  // than the step before
    const float filter_scale_before = filter_scale;
    if (new_filter) {
      filter = load_filter<1>(args.filters.values + d * 1024, 0, lane, warp);
      filter_scale = args.filters.scale[d];
    }
    const bool last_of_row = index + 1 == args.chunks;
    new_filter = last_of_row && b + 1 == args.batches;

    entered[0].wait(turn);
    const auto move_inputs = [&](bool last_of_row) {
      move(args.dy, dy, last_of_row), move(args.u, u, last_of_row);
      if constexpr (kGateIn) move(args.gate_in, gate_in, last_of_row);
      if constexpr (kGateOut) move(args.gate_out, gate_out, last_of_row);
    };
    last_of_row ? move_inputs(true) : move_inputs(false);
    if (turn + 1 < turns) copy(turn + 1, left(last_of_row ? 0 : index + 1));

    const int g_own = transform.common_scale(0), g_exponent = alone ? g_own : g_carried.common_with(g_own);
    ComplexTile g = rounded(transform.spectrum(0, 0, transform.factors_to(g_exponent, 0)));
    {
      const ComplexTile own = g;
      if (!alone) g = scaled_sum(quarter_turned<true>(g_after.load()), g_carried.factor_to(g_exponent), g);
      g_after.store(own);
      g_carried = {g_own, g_exponent};
      ComplexTile tile = g;
      multiply<true>(tile, filter);
      transform.invert(0, 0, tile);
    }
    inverted[0].arrive();

    entered[1].wait(turn);
    const int x_own = transform.common_scale(1), x_exponent = alone ? x_own : x_carried.common_with(x_own);
    int c_exponent = x_exponent;
    {
      const ComplexSums x = transform.spectrum(1, 0, transform.factors_to(x_exponent, 1));
      if (!repeated) sum.add(x, g, power_of_two(g_exponent) * power_of_two(x_exponent));
      if constexpr (kGateOut) {
        const ComplexTile own = rounded(x);
        if (turn > 0) {
          ComplexTile tile = x_after.load();
          if (alone) {
            c_exponent = x_carried.stored;
          } else {
            tile = scaled_sum(tile, x_carried.factor_to(x_exponent), quarter_turned<false>(own));
          }
          if (other_filter) {
            multiply<false>(tile, load_filter<1>(args.filters.values + (d - 1) * 1024, 0, lane, warp));
          } else {
            multiply<false>(tile, filter);
          }
          transform.invert(1, 0, tile);
        }
        x_after.store(own);
      }
      x_carried = {x_own, x_exponent};
    }
    inverted[1].arrive();

    inverted[0].wait(turn);
    const float scale = power_of_two(g_exponent) * filter_scale;
    const StorePlace<1> place(left(index), transform.n2(), lane);
    transform.leave(0, [&](int a, int h, const float(&dx)[4]) {
      if (repeated) return;
      const uint32_t at = transform.fours(a, h);
      if constexpr (kGateIn) {
        if (args.du.present()) place.store(du, a, h, scaled(dx, scale, load_two(gate_in_row(turn) + at)));
        if (args.dgate_in.present()) place.store(dgate_in, a, h, scaled(dx, scale, load_two(u_row(turn) + at)));
      } else if (args.du.present()) {
        place.store(du, a, h, scaled(dx, scale));
      }
    });
    move(args.du, du, last_of_row);
    if constexpr (kGateIn) move(args.dgate_in, dgate_in, last_of_row);
    c_leaves(turn, c_exponent, filter_scale_before, index == 0 ? left(args.chunks - 1) : left(index - 1));
    if constexpr (kGateOut) {
      if (turn > 0) dgate_out = index == 0 ? first(args.dgate_out) : dgate_out - kPoints;
    }
    if (new_filter || turn + 1 == turns) {
      if (args.sums != nullptr) {
        float4* const segment = args.sums + (d + blockIdx.x) * 2048 + warp * 128 + lane;
#pragma unroll
        for (int q = 0; q < 4; ++q) segment[32 * q] = sum.q[q];
      }
      sum = {};
    }
    d += new_filter, b = new_filter ? 0 : b + last_of_row, index = last_of_row ? 0 : index + 1;
  }
  if constexpr (kGateOut) {
    if (index > 0) return;
    __syncthreads();
    ComplexTile tile = x_after.load();
    multiply<false>(tile, filter);
    transform.invert(1, 0, tile);
    inverted[1].arrive();
    c_leaves(turns, x_carried.stored, filter_scale, left(args.chunks - 1));
  }
#endif
}

template <bool kGateIn, bool kGateOut>
void launch(Stream& stream, const BackwardArgs& args) {
  constexpr int kBytes = static_cast<int>(BackwardLayout<kGateIn, kGateOut>::kBytes);
  const auto kernel = backward_kernel<kGateIn, kGateOut>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  kernel<<<static_cast<unsigned>(args.segments.parts), 512, kBytes, native(stream)>>>(args);
  launched("fft_conv_backward: fused, chunks");
}

}  // namespace

void backward_chunks(Stream& stream, const FftConvBackward& a) {
  const int64_t channels = a.u.size(0), batches = a.u.size(1), length = a.u.size(2);
  const auto values = stream.scratch<uint4>(channels * 1024);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<1, 1>(stream, Filters::of(a), values, scale);
  const int64_t chunks = ceil_div(length, kPoints), steps = channels * batches * chunks;
  const Segments segments{steps, batches * chunks,
                          static_cast<int>(std::min<int64_t>(steps, device_info().multiprocessors))};
  const bool sums_wanted = a.dk || a.dskip;
  const auto sums = stream.scratch<float4>(sums_wanted ? segments.count() * 2048 : 0);
  const BackwardArgs args{.dy = Walk(a.dy, 1),
                          .u = Walk(a.u, 1),
                          .gate_in = Walk(a.gate_in, 1),
                          .gate_out = Walk(a.gate_out, 1),
                          .du = Walk(a.du, 1),
                          .dgate_in = Walk(a.dgate_in, 1),
                          .dgate_out = Walk(a.dgate_out, 1),
                          .filters = {values, scale},
                          .sums = sums_wanted ? sums.get() : nullptr,
                          .segments = segments,
                          .batches = static_cast<int>(batches),
                          .length = static_cast<int>(length),
                          .chunks = static_cast<int>(chunks)};
  if (a.gate_in) {
    a.gate_out ? launch<true, true>(stream, args) : launch<true, false>(stream, args);
  } else {
    a.gate_out ? launch<false, true>(stream, args) : launch<false, false>(stream, args);
  }
  if (sums_wanted) transform_gradients<1, 1>(stream, sums, segments, a);
}

}  // namespace mara::kernels::cuda::fused
