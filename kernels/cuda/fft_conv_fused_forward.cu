// Fused long convolution forward: y = gate_out * conv(gate_in * u, k), one pass over the rows. See fft_conv_fused.cuh.
//
// Rows of up to one transform are a step's two by pairs of the batch. A row of two (C = 2), x_0 and x_1 as the filter's
// k_0 and k_1, is both of a step. What wraps around is the imaginary part, so that with H_0 = R(k_0) and
// H_1 = R(k_1 - i k_0)
//   y_0 = Re R^-1(H_0 X_0),   y_1 = Re R^-1(H_0 X_1 + H_1 X_0).
//
// Bound by latency and instructions before device memory. One block of 16 warps per multiprocessor takes a contiguous
// range of steps in the order of channels, so that a filter's spectrum stays in registers (H_1 comes from the L2 cache
// every time). All warps copy the next step's rows, whole lines each, as soon as this one's are used up: u and gate_in
// have one buffer, for all are past them halfway through a step, gate_out has two.

#include <algorithm>

#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.cuh"
#include "kernels/cuda/fft_conv_fused.h"

namespace mara::kernels::cuda::fused {
namespace {

struct ForwardArgs {
  Walk u, gate_in, gate_out, y;
  FilterSpectra filters;
  int64_t channels;
  int batches, length;
  int per_channel;  // steps

  __host__ __device__ int64_t steps() const { return channels * per_channel; }
};

/// Shared memory: the transform's, then staged rows, of each tensor the two of a step.
template <int R, bool kGateIn, bool kGateOut>
struct ForwardLayout {
  static constexpr uint32_t kRow = StagedRow<R>::kBytes;
  static constexpr uint32_t kU = RowTransform<R>::kBytes, kGateInAt = kU + 2 * kRow;
  static constexpr uint32_t kGateOutAt = kGateInAt + kGateIn * 2 * kRow;  // the two of even steps, then of odd ones
  static constexpr uint32_t kBarriers = kGateOutAt + kGateOut * 4 * kRow, kBytes = kBarriers + 40;
};

template <int R, int C, bool kGateIn, bool kGateOut>
__global__ void __launch_bounds__(512, 1) forward_kernel(const __grid_constant__ ForwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Layout = ForwardLayout<R, kGateIn, kGateOut>;
  using Row = StagedRow<R>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout::kBarriers;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const SplitBarrier entered[2] = {{barriers}, {barriers + 8}}, inverted[2] = {{barriers + 16}, {barriers + 24}};
  const CopyBarrier filled{barriers + 32};
  if (threadIdx.x == 0) {
    for (int z = 0; z < 2; ++z) entered[z].init(512), inverted[z].init(512);
    filled.init(512);
  }
  const RowTransform<R> transform(shared, lane, warp);
  const StorePlace<R> place(args.length, transform.n2(), lane);
  __syncthreads();

  const int64_t begin = args.steps() * blockIdx.x / gridDim.x, end = args.steps() * (blockIdx.x + 1) / gridDim.x;
  const auto gate_out_rows = [&](uint32_t turn, int z) {
    return shared + Layout::kGateOutAt + (turn % 2 * 2 + z) * Layout::kRow;
  };
  int64_t d = begin / args.per_channel;
  int index = static_cast<int>(begin % args.per_channel);  // of the step in its channel
  const auto start = [&](const Walk& walk) { return walk.rows.at(d, C == 1 ? 2 * index : index); };
  bfloat16 *u = start(args.u), *gate_in = start(args.gate_in), *gate_out = start(args.gate_out), *y = start(args.y);
  const auto second = [](const Walk& walk) { return C == 1 ? walk.rows.batch : 4096 * R; };  // from a step's first row
  const auto copy = [&](uint32_t turn, int index) {
#pragma unroll
    for (int z = 0; z < 2; ++z) {
      const bool present = C == 2 || 2 * index + z < args.batches;
      const int length = C == 1 ? args.length : args.length - z * 4096 * R;
      Row::copy(shared + Layout::kU + z * Layout::kRow, u + z * second(args.u), length, present, lane, warp);
      if constexpr (kGateIn) {
        Row::copy(shared + Layout::kGateInAt + z * Layout::kRow, gate_in + z * second(args.gate_in), length, present,
                  lane, warp);
      }
      if constexpr (kGateOut) {
        Row::copy(gate_out_rows(turn, z), gate_out + z * second(args.gate_out), length, present, lane, warp);
      }
    }
    filled.arrive_with_copies();
  };
  const auto move_inputs = [&](bool last) {
    args.u.move(u, last);
    if constexpr (kGateIn) args.gate_in.move(gate_in, last);
    if constexpr (kGateOut) args.gate_out.move(gate_out, last);
  };
  copy(0, index);
  ComplexTile filter[R];
  float filter_scale = 0;
  bool new_filter = true;
  const uint32_t turns = static_cast<uint32_t>(end - begin);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    const bool last = index + 1 == args.per_channel;
    filled.wait(turn);
#pragma unroll
    for (int z = 0; z < 2; ++z) {
      transform.template enter<kGateIn>(z, shared + Layout::kU + z * Layout::kRow,
                                        shared + Layout::kGateInAt + z * Layout::kRow);
      entered[z].arrive();
    }
    if (new_filter) {
#pragma unroll
      for (int i = 0; i < R; ++i) filter[i] = load_filter<R>(args.filters.values + d * (C * 1024 * R), i, lane, warp);
      filter_scale = args.filters.scale[d] * (1.0f / R);
    }
    new_filter = last;

    int exponent[2];
    const auto copy_next = [&] {
      if (turn + 1 == turns) return;
      move_inputs(last);
      copy(turn + 1, last ? 0 : index + 1);
    };
    if constexpr (C == 1) {
#pragma unroll
      for (int z = 0; z < 2; ++z) {
        entered[z].wait(turn);
        if (z == 1) copy_next();
        exponent[z] = transform.common_scale(z);
        const auto factors = transform.factors_to(exponent[z], z);
#pragma unroll
        for (int i = 0; i < R; ++i) {
          ComplexTile tile = rounded(transform.spectrum(z, i, factors));
          multiply<false>(tile, filter[i]);
          transform.invert(z, i, tile);
        }
        inverted[z].arrive();
      }
    } else {
      entered[0].wait(turn), entered[1].wait(turn);
      copy_next();
      exponent[0] = exponent[1] = transform.scale_of_both(0);
      const auto first_factors = transform.factors_to(exponent[0], 0), factors = transform.factors_to(exponent[1], 1);
#pragma unroll
      for (int i = 0; i < R; ++i) {
        const ComplexTile wrapped = load_filter<R>(args.filters.values + (2 * d + 1) * (1024 * R), i, lane, warp);
        const ComplexTile first = rounded(transform.spectrum(0, i, first_factors));
        ComplexTile tile = first;
        multiply<false>(tile, filter[i]);
        transform.invert(0, i, tile);
        tile = rounded(transform.spectrum(1, i, factors));
        multiply<false>(tile, filter[i]);
        multiply_add<false>(tile, first, wrapped);
        transform.invert(1, i, tile);
      }
      inverted[0].arrive(), inverted[1].arrive();
    }

#pragma unroll
    for (int z = 0; z < 2; ++z) {
      inverted[z].wait(turn);
      const bool present = C == 2 || 2 * index + z < args.batches;
      const float scale = power_of_two(exponent[z]) * filter_scale;
      transform.leave(z, [&](int a, int h, const float(&c)[4]) {
        uint2 four;
        if constexpr (kGateOut) {
          four = scaled(c, scale, load_two(gate_out_rows(turn, z) + transform.fours(a, h)));
        } else {
          four = scaled(c, scale);
        }
        if (present) place.store(y + (C == 1 ? z * args.y.rows.batch : 0), a, h, four, z * (C - 1) * 4096 * R);
      });
    }
    args.y.move(y, last);
    d += last, index = last ? 0 : index + 1;
  }
#endif
}

template <int R, int C, bool kGateIn, bool kGateOut>
void launch(Stream& stream, const ForwardArgs& args) {
  constexpr int kBytes = static_cast<int>(ForwardLayout<R, kGateIn, kGateOut>::kBytes);
  const auto kernel = forward_kernel<R, C, kGateIn, kGateOut>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int64_t blocks = std::min<int64_t>(args.steps(), device_info().multiprocessors);
  kernel<<<static_cast<unsigned>(blocks), 512, kBytes, native(stream)>>>(args);
  launched("fft_conv_forward: fused");
}

template <int R, int C>
void forward_of(Stream& stream, const FftConvForward& a) {
  constexpr int kBatchesPerStep = C == 1 ? 2 : 1;
  const int64_t channels = a.u.size(0);
  const auto values = stream.scratch<uint4>(channels * C * 1024 * R);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<R, C>(stream, a.k, a.skip, a.u.size(2), values, scale);
  const ForwardArgs args{.u = Walk(a.u, kBatchesPerStep),
                         .gate_in = Walk(a.gate_in, kBatchesPerStep),
                         .gate_out = Walk(a.gate_out, kBatchesPerStep),
                         .y = Walk(a.y, kBatchesPerStep),
                         .filters = {values, scale},
                         .channels = channels,
                         .batches = static_cast<int>(a.u.size(1)),
                         .length = static_cast<int>(a.u.size(2)),
                         .per_channel = static_cast<int>(ceil_div(a.u.size(1), kBatchesPerStep))};
  if (a.gate_in) {
    a.gate_out ? launch<R, C, true, true>(stream, args) : launch<R, C, true, false>(stream, args);
  } else {
    a.gate_out ? launch<R, C, false, true>(stream, args) : launch<R, C, false, false>(stream, args);
  }
}

}  // namespace

void forward(Stream& stream, const FftConvForward& args) {
  const int64_t length = args.u.size(2);
  if (length <= 4096) return forward_of<1, 1>(stream, args);
  if (length <= 8192) return forward_of<2, 1>(stream, args);
  length <= 16384 ? forward_of<2, 2>(stream, args) : forward_long(stream, args);
}

}  // namespace mara::kernels::cuda::fused
