// Fused long convolution backward: du, dgate_in, dgate_out and the sums for dk in one pass. See fft_conv_fused.cuh.
//
// A step's two rows are g = dy gate_out and x = u gate_in of one row of the batch. Their spectra meet in the registers
// of the warp that owns a k1: G conj K goes back to dx, X K to c, and G conj X is added in f32 to the channel's sum,
// which stays on chip while the batch runs by: in registers with R = 1, in shared memory with R = 2. One block of 16
// warps per multiprocessor takes a contiguous range of rows in the order of channels; the sum of a channel that two
// blocks share is written in two segments, added in order by transform_gradients. The cuts, so the order of all sums,
// depend on the shape and on the number of multiprocessors.
//
// dy, u and gate_in are needed at both ends of a step. With R = 1 there is room for two buffers of each, copies have a
// whole step, and phases go in pairs, g beside x. With R = 2 only dy has two, and another order gives every copy half a
// step: g enters, c of the step before leaves, g's inner stages, x enters, dx leaves, x's inner stages.
//
// Short rows go P at a time, for which "row" stands above; the sums of P warps that have the same k1 of different rows
// are brought together when a channel ends.

#include <algorithm>

#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.cuh"
#include "kernels/cuda/fft_conv_fused.h"
#include "kernels/cuda/fft_conv_sums.cuh"

namespace mara::kernels::cuda::fused {
namespace {

struct BackwardArgs {
  Walk dy, u, gate_in, gate_out, du, dgate_in, dgate_out;
  FilterSpectra filters;
  float4* sums;
  Segments segments;
  int length, rows;  // of a channel
};

/// Shared memory: the transform's, the sums if R > 1 (or those of all but one of P), then staged rows.
template <int R, int P, bool kGateIn, bool kGateOut>
struct BackwardLayout {
  static constexpr uint32_t kRow = StagedRow<R>::kBytes, kInputs = R == 1 ? 2 : 1;  // buffers of u and gate_in
  static constexpr uint32_t kSums = RowTransform<R, 2, P, true>::kBytes;
  static constexpr uint32_t kDy = kSums + SpectrumSums<R, P>::kBytes, kGateOutAt = kDy + 2 * kRow;
  static constexpr uint32_t kU = kGateOutAt + kGateOut * kRow, kGateInAt = kU + kInputs * kRow;
  static constexpr uint32_t kBarriers = kGateInAt + kGateIn * kInputs * kRow, kBytes = kBarriers + 56;
};

template <int R, int P, bool kGateIn, bool kGateOut>
__global__ void __launch_bounds__(512, 1) backward_kernel(const __grid_constant__ BackwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Layout = BackwardLayout<R, P, kGateIn, kGateOut>;
  using Row = StagedRow<R, P>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout::kBarriers;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);  // alike in a warp
  const SplitBarrier entered[2] = {{barriers}, {barriers + 8}}, inverted[2] = {{barriers + 16}, {barriers + 24}};
  const SplitBarrier dx_left{barriers + 32};
  const CopyBarrier filled[2] = {{barriers + 40}, {barriers + 48}};  // with g, with x
  if (threadIdx.x == 0) {
    for (int z = 0; z < 2; ++z) entered[z].init(512), inverted[z].init(512), filled[z].init(512);
    dx_left.init(512);
  }
  const RowTransform<R, 2, P, true> transform(shared, lane, warp);
  const StorePlace<R, P> place(args.length, transform.n2(), lane);
  const int copied_row = row_of<P>(warp), stored_row = place.row(lane);  // of P
  SpectrumSums<R, P> sums(shared + Layout::kSums, lane, warp);
  __syncthreads();

  const int batches = static_cast<int>(args.segments.batches);  // or P of them
  const int64_t begin = args.segments.begin(blockIdx.x), end = args.segments.begin(blockIdx.x + 1);
  const uint32_t gate_out_row = shared + Layout::kGateOutAt;
  const auto dy_row = [&](uint32_t turn) { return shared + Layout::kDy + turn % 2 * Layout::kRow; };
  const auto u_row = [&](uint32_t turn) { return shared + Layout::kU + turn % Layout::kInputs * Layout::kRow; };
  const auto gate_in_row = [&](uint32_t turn) {
    return shared + Layout::kGateInAt + turn % Layout::kInputs * Layout::kRow;
  };

  int64_t d = begin / batches;
  int b = static_cast<int>(begin % batches);
  const auto start = [&](const Walk& walk, int row, int offset) { return walk.rows.at(d, P * b + row) + offset; };
  // With R = 1 pointers are each lane's own; with R = 2 registers are too few for that.
  const int read_at = R == 1 ? Row::share(lane, warp) : 0, written_at = R == 1 ? place.offset : 0;
  bfloat16 *dy = start(args.dy, copied_row, read_at), *gate_out = start(args.gate_out, copied_row, read_at);
  bfloat16 *u = start(args.u, copied_row, read_at), *gate_in = start(args.gate_in, copied_row, read_at);
  bfloat16 *du = start(args.du, stored_row, written_at), *dgate_in = start(args.dgate_in, stored_row, written_at);
  bfloat16* dgate_out = start(args.dgate_out, stored_row, written_at);
  const auto copy_row = [&](uint32_t to, const bfloat16* from, int b) {
    const bool present = P == 1 || P * b + copied_row < args.rows;
    if constexpr (R == 1) {
      Row::copy_own(to + warp * Row::kStride + 16 * lane, from, args.length - read_at, present);
    } else {
      Row::copy(to, from, args.length, present, lane, warp);
    }
  };
  const auto copy_g = [&](uint32_t turn, int b) {
    copy_row(dy_row(turn), dy, b);
    if constexpr (kGateOut) copy_row(gate_out_row, gate_out, b);
    filled[0].arrive_with_copies();
  };
  const auto copy_x = [&](uint32_t turn, int b) {
    copy_row(u_row(turn), u, b);
    if constexpr (kGateIn) copy_row(gate_in_row(turn), gate_in, b);
    filled[1].arrive_with_copies();
  };
  copy_g(0, b);
  copy_x(0, b);
  ComplexTile filter[R];
  float filter_scale = 0;
  const uint32_t turns = static_cast<uint32_t>(end - begin);
  float g_scale = 0, x_scale = 0;
  ComplexTile g[R];

  const auto g_enters = [&](uint32_t turn) {
    filled[0].wait(turn);
    transform.template enter<kGateOut>(0, dy_row(turn), gate_out_row);
    entered[0].arrive();
  };
  const auto x_enters = [&](uint32_t turn) {
    filled[1].wait(turn);
    transform.template enter<kGateIn>(1, u_row(turn), gate_in_row(turn));
    entered[1].arrive();
  };
  const auto g_inside = [&] {
    const int exponent = transform.common_scale(0);
    const auto factors = transform.factors_to(exponent, 0);
    g_scale = transform.scale_of(0, exponent);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      g[i] = rounded(transform.spectrum(0, i, factors));
      ComplexTile tile = g[i];
      multiply<true>(tile, filter[i]);
      transform.invert(0, i, tile);
    }
    inverted[0].arrive();
  };
  const auto x_inside = [&] {
    const int exponent = transform.common_scale(1);
    const auto factors = transform.factors_to(exponent, 1);
    x_scale = transform.scale_of(1, exponent);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const ComplexSums x = transform.spectrum(1, i, factors);
      sums.add(i, x, g[i], g_scale * x_scale);
      if constexpr (kGateOut) {
        ComplexTile tile = rounded(x);
        multiply<false>(tile, filter[i]);
        transform.invert(1, i, tile);
      }
    }
    inverted[1].arrive();
  };
  const auto scale_at = [&](int z, int h) {
    return (P > 1 ? transform.announced(z, h) : z == 0 ? g_scale : x_scale) * filter_scale;
  };
  const auto store = [&](const Walk& walk, bfloat16* row, int a, int h, uint2 four) {
    const bool present = P == 1 || P * b + stored_row + h * P / 2 < args.rows;
    if constexpr (R == 1) {
      if (present) place.put(row + h * P / 2 * walk.rows.batch, a, h, four);
    } else {
      place.store(row, a, h, four);
    }
  };
  const auto dx_leaves = [&](uint32_t turn, bool last) {
    const float scales[2] = {scale_at(0, 0), scale_at(0, 1)};
    transform.leave(0, [&](int a, int h, const float(&dx)[4]) {
      const uint32_t at = transform.fours(a, h);
      if constexpr (kGateIn) {
        if (args.du.present()) store(args.du, du, a, h, scaled(dx, scales[h], load_two(gate_in_row(turn) + at)));
        if (args.dgate_in.present()) {
          store(args.dgate_in, dgate_in, a, h, scaled(dx, scales[h], load_two(u_row(turn) + at)));
        }
      } else if (args.du.present()) {
        store(args.du, du, a, h, scaled(dx, scales[h]));
      }
    });
    args.du.move(du, last);
    if constexpr (kGateIn) args.dgate_in.move(dgate_in, last);
  };
  const auto c_leaves = [&](uint32_t turn, bool last) {
    inverted[1].wait(turn);
    if constexpr (kGateOut) {
      const float scales[2] = {scale_at(1, 0), scale_at(1, 1)};
      transform.leave(1, [&](int a, int h, const float(&c)[4]) {
        if (args.dgate_out.present()) {
          store(args.dgate_out, dgate_out, a, h, scaled(c, scales[h], load_two(dy_row(turn) + transform.fours(a, h))));
        }
      });
      args.dgate_out.move(dgate_out, last);
    }
  };
  const auto next_g = [&](uint32_t turn, bool last) {
    args.dy.move(dy, last);
    if constexpr (kGateOut) args.gate_out.move(gate_out, last);
    if (turn + 1 < turns) copy_g(turn + 1, last ? 0 : b + 1);
  };
  const auto next_x = [&](uint32_t turn, bool last) {
    args.u.move(u, last);
    if constexpr (kGateIn) args.gate_in.move(gate_in, last);
    if (turn + 1 < turns) copy_x(turn + 1, last ? 0 : b + 1);
  };

  bool last = true;  // of its channel, the row before
  for (uint32_t turn = 0; turn < turns; ++turn) {
    const bool new_filter = last || turn == 0, c_is_late = R == 2 && turn > 0;
    g_enters(turn);
    if (c_is_late) c_leaves(turn - 1, last);
    if constexpr (R == 1) x_enters(turn);
    if (new_filter) {
      sums.clear();
#pragma unroll
      for (int i = 0; i < R; ++i)
        filter[i] = load_filter<R, P>(args.filters.values + d * (1024 * R / P), i, lane, warp);
      filter_scale = args.filters.scale[d] * (1.0f / R);
    }
    last = b + 1 == batches;
    entered[0].wait(turn);
    if constexpr (R == 1) next_g(turn, last), next_x(turn, last);
    g_inside();
    if constexpr (R == 2) {
      x_enters(turn);
      inverted[0].wait(turn);
      next_g(turn, last);
      dx_leaves(turn, last);
      dx_left.arrive();
    }
    entered[1].wait(turn);
    x_inside();
    if constexpr (R == 1) {
      inverted[0].wait(turn);
      dx_leaves(turn, last);
      c_leaves(turn, last);
    } else {
      dx_left.wait(turn);
      next_x(turn, last);
    }
    if (last || turn + 1 == turns) {
      if (args.sums != nullptr) sums.write(args.sums + (d + blockIdx.x) * (2048 * R / P));
    }
    d += last, b = last ? 0 : b + 1;
  }
  if constexpr (R == 2) c_leaves(turns - 1, last);
#endif
}

template <int R, int P, bool kGateIn, bool kGateOut>
void launch(Stream& stream, const BackwardArgs& args) {
  constexpr int kBytes = static_cast<int>(BackwardLayout<R, P, kGateIn, kGateOut>::kBytes);
  const auto kernel = backward_kernel<R, P, kGateIn, kGateOut>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  kernel<<<static_cast<unsigned>(args.segments.parts), 512, kBytes, native(stream)>>>(args);
  launched("fft_conv_backward: fused");
}

template <int R, int P>
void backward_of(Stream& stream, const FftConvBackward& a) {
  const int64_t channels = a.u.size(0), batches = ceil_div(a.u.size(1), P), rows = channels * batches;
  const auto values = stream.scratch<uint4>(channels * 1024 * R / P);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<R, 1, P>(stream, Filters::of(a), values, scale);
  const Segments segments{rows, batches, static_cast<int>(std::min<int64_t>(rows, device_info().multiprocessors))};
  const bool sums_wanted = a.dk || a.dk_reverse || a.dskip;
  const auto sums = stream.scratch<float4>(sums_wanted ? segments.count() * 2048 * R / P : 0);
  const BackwardArgs args{.dy = Walk(a.dy, P),
                          .u = Walk(a.u, P),
                          .gate_in = Walk(a.gate_in, P),
                          .gate_out = Walk(a.gate_out, P),
                          .du = Walk(a.du, P),
                          .dgate_in = Walk(a.dgate_in, P),
                          .dgate_out = Walk(a.dgate_out, P),
                          .filters = {values, scale},
                          .sums = sums_wanted ? sums.get() : nullptr,
                          .segments = segments,
                          .length = static_cast<int>(a.u.size(2)),
                          .rows = static_cast<int>(a.u.size(1))};
  if (a.gate_in) {
    a.gate_out ? launch<R, P, true, true>(stream, args) : launch<R, P, true, false>(stream, args);
  } else {
    a.gate_out ? launch<R, P, false, true>(stream, args) : launch<R, P, false, false>(stream, args);
  }
  if (!sums_wanted) return;
  transform_gradients<R, 1, P>(stream, sums, segments, a);
}

}  // namespace

void backward(Stream& stream, const FftConvBackward& args) {
  const int64_t length = args.u.size(2);
  if (length <= 1024) return backward_of<1, 4>(stream, args);
  if (length <= 2048) return backward_of<1, 2>(stream, args);
  if (length <= 4096) return backward_of<1, 1>(stream, args);
  if (length <= 8192) return backward_of<2, 1>(stream, args);
  args.k.size(1) <= 4096 ? backward_chunks(stream, args) : backward_long(stream, args);
}

}  // namespace mara::kernels::cuda::fused
