// Fused long convolution forward, for rows of four transforms. See fft_conv_fused.cuh and fft_conv_fused_forward.cu.
//
// With parts x_c of a row and k_p of the filter, p < 0 if it has two sides, H_p = R(k_p - i k_(p-1)),
// y_c = Re R^-1(sum_p H_p X_(c-p)). All four parts are in shared memory at a time; beside them there is room for two of
// the inputs, so that they come in two turns. gate_out is read where it is needed. Bound by the latency of what is read
// within a step, for one block fills a multiprocessor.

#include <algorithm>

#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.cuh"
#include "kernels/cuda/fft_conv_fused.h"

namespace mara::kernels::cuda::fused {
namespace {

constexpr int R = 2, C = 4;

struct ForwardArgs {
  Walk u, gate_in, gate_out, y;
  FilterSpectra filters;
  int64_t rows;
  int batches, length;
};

/// Shared memory: the transform's of four parts, then for two a staged row of u and one of gate_in.
struct Layout {
  static constexpr uint32_t kRow = StagedRow<R>::kBytes, kStaged = RowTransform<R, C>::kBytes;
  static constexpr uint32_t kBarriers = kStaged + 4 * kRow, kBytes = kBarriers + 7 * 8;
};

template <bool kTwoSided, bool kGateIn, bool kGateOut>
__global__ void __launch_bounds__(512, 1) forward_kernel(const __grid_constant__ ForwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Row = StagedRow<R>;
  constexpr int kPart = 4096 * R;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout::kBarriers;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const auto entered = [&](int z) { return SplitBarrier{barriers + 8 * z}; };
  const auto filled = [&](int slot) { return CopyBarrier{barriers + 32 + 8 * slot}; };  // twice a step
  const SplitBarrier inverted{barriers + 48};
  if (threadIdx.x == 0) {
    for (int z = 0; z < C; ++z) entered(z).init(512);
    filled(0).init(512), filled(1).init(512), inverted.init(512);
  }
  const RowTransform<R, C> transform(shared, lane, warp);
  const StorePlace<R> place(args.length, transform.n2(), lane);
  __syncthreads();

  const int64_t begin = args.rows * blockIdx.x / gridDim.x, end = args.rows * (blockIdx.x + 1) / gridDim.x;
  int64_t d = begin / args.batches;
  int b = static_cast<int>(begin % args.batches);
  bfloat16 *u = args.u.rows.at(d, b), *gate_in = args.gate_in.rows.at(d, b);
  bfloat16 *gate_out = args.gate_out.rows.at(d, b), *y = args.y.rows.at(d, b);
  const auto staged = [&](int slot, int which) { return shared + Layout::kStaged + (2 * slot + which) * Layout::kRow; };
  const auto copy = [&](int part) {
    const int slot = part % 2, length = args.length - part * kPart;
    Row::copy(staged(slot, 0), u + part * kPart, length, true, lane, warp);
    if constexpr (kGateIn) Row::copy(staged(slot, 1), gate_in + part * kPart, length, true, lane, warp);
    filled(slot).arrive_with_copies();
  };
  copy(0), copy(1);
  const uint32_t turns = static_cast<uint32_t>(end - begin);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    const bool last = b + 1 == args.batches;
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
        filled(slot).wait(pair);
        transform.template enter<kGateIn>(2 * pair + slot, staged(slot, 0), staged(slot, 1));
        entered(2 * pair + slot).arrive();
      }
      if (pair == 1) args.u.move(u, last), args.gate_in.move(gate_in, last);
#pragma unroll
      for (int slot = 0; slot < 2; ++slot) {
        entered(2 * pair + slot).wait(turn);
        if (pair == 0) {
          copy(2 + slot);
        } else if (turn + 1 < turns) {
          copy(slot);
        }
      }
    }

    const int exponent = max(transform.scale_of_both(0), transform.scale_of_both(2));
    constexpr int kZero = kTwoSided ? C - 1 : 0, kSpectra = C + kZero;  // place of H_0, spectra of a filter
    const uint4* const filters = args.filters.values + (d * kSpectra + kZero) * (1024 * R);
#pragma unroll 1
    for (int i = 0; i < R; ++i) {
      ComplexTile x[C];
      const auto enter_spectrum = [&](int c) {
        x[c] = rounded(transform.spectrum(c, i, transform.factors_to(exponent, c)));
      };
      if constexpr (kTwoSided) {
#pragma unroll
        for (int c = 0; c < C; ++c) enter_spectrum(c);
      }
#pragma unroll
      for (int c = 0; c < C; ++c) {
        if constexpr (!kTwoSided) enter_spectrum(c);
        ComplexTile tile = x[c];
        multiply<false>(tile, load_filter<R>(filters, i, lane, warp));
#pragma unroll
        for (int p = 1 - C; p < C; ++p) {
          if (p == 0 || c - p < 0 || c - p >= (kTwoSided ? C : c)) continue;
          multiply_add<false>(tile, x[c - p], load_filter<R>(filters + p * 1024 * R, i, lane, warp));
        }
        transform.invert(c, i, tile);
      }
    }
    inverted.arrive();
    inverted.wait(turn);

    const float scale = power_of_two(exponent) * args.filters.scale[d] * (1.0f / R);
    Fours<R> gates[C];
    if constexpr (kGateOut) gates[0].load(gate_out, place, 0);
#pragma unroll
    for (int c = 0; c < C; ++c) {
      if constexpr (kGateOut) {
        if (c + 1 < C) gates[c + 1].load(gate_out, place, (c + 1) * kPart);
      }
      transform.leave(c, [&](int a, int h, const float(&sums)[4]) {
        if constexpr (kGateOut) {
          place.store(y, a, h, scaled(sums, scale, gates[c].at[a][h]), c * kPart);
        } else {
          place.store(y, a, h, scaled(sums, scale), c * kPart);
        }
      });
    }
    args.gate_out.move(gate_out, last), args.y.move(y, last);
    d += last, b = last ? 0 : b + 1;
  }
#endif
}

template <bool kTwoSided, bool kGateIn, bool kGateOut>
void launch(Stream& stream, const ForwardArgs& args) {
  constexpr int kBytes = static_cast<int>(Layout::kBytes);
  const auto kernel = forward_kernel<kTwoSided, kGateIn, kGateOut>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int64_t blocks = std::min<int64_t>(args.rows, device_info().multiprocessors);
  kernel<<<static_cast<unsigned>(blocks), 512, kBytes, native(stream)>>>(args);
  launched("fft_conv_forward: fused, long");
}

template <bool kTwoSided>
void launch(Stream& stream, const ForwardArgs& args) {
  if (args.gate_in.present()) {
    args.gate_out.present() ? launch<kTwoSided, true, true>(stream, args)
                            : launch<kTwoSided, true, false>(stream, args);
  } else {
    args.gate_out.present() ? launch<kTwoSided, false, true>(stream, args)
                            : launch<kTwoSided, false, false>(stream, args);
  }
}

}  // namespace

void forward_long(Stream& stream, const FftConvForward& a) {
  const int64_t channels = a.u.size(0), batches = a.u.size(1);
  const Filters filters = Filters::of(a);
  const auto values = stream.scratch<uint4>(channels * filters.parts(C) * 1024 * R);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<R, C>(stream, filters, values, scale);
  const ForwardArgs args{.u = Walk(a.u, 1),
                         .gate_in = Walk(a.gate_in, 1),
                         .gate_out = Walk(a.gate_out, 1),
                         .y = Walk(a.y, 1),
                         .filters = {values, scale},
                         .rows = channels * batches,
                         .batches = static_cast<int>(batches),
                         .length = static_cast<int>(a.u.size(2))};
  filters.two_sided() ? launch<true>(stream, args) : launch<false>(stream, args);
}

}  // namespace mara::kernels::cuda::fused
