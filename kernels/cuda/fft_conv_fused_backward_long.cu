// Fused long convolution backward, for rows of two transforms. See fft_conv_fused.cuh, _forward.cu and _backward.cu.
//
// With the parts g_0, g_1 and x_0, x_1 of a row, all four of which are in shared memory at a time,
//   dx_0 = Re R^-1(conj(H_0) G_0 + conj(H_1) G_1),   dx_1 = Re R^-1(conj(H_0) G_1),
//   dH_0 = sum_b G_0 conj(X_0) + G_1 conj(X_1),      dH_1 = sum_b G_1 conj(X_0).
// There is room for half of a row's inputs beside them, so that g and x come one after the other, and what is
// multiplied with dx and c at the end is read again, from the L2 cache. The sums are read and written there for every
// row, by the one thread that owns them.

#include <algorithm>

#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.cuh"
#include "kernels/cuda/fft_conv_fused.h"

namespace mara::kernels::cuda::fused {
namespace {

constexpr int R = 2;

struct BackwardArgs {
  Walk dy, u, gate_in, gate_out, du, dgate_in, dgate_out;
  FilterSpectra filters;
  float4* sums;
  Segments segments;
  int length;
};

/// Shared memory: the transform's of g_0, g_1, x_0, x_1, then for each part a staged row of dy or u and one of its
/// gate.
struct Layout {
  static constexpr uint32_t kRow = StagedRow<R>::kBytes, kStaged = RowTransform<R, 4>::kBytes;
  static constexpr uint32_t kBarriers = kStaged + 4 * kRow, kBytes = kBarriers + 8 * 8;
};

template <bool kGateIn, bool kGateOut>
__global__ void __launch_bounds__(512, 1) backward_kernel(const __grid_constant__ BackwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Row = StagedRow<R>;
  constexpr int kPart = 4096 * R;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout::kBarriers;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const auto entered = [&](int z) { return SplitBarrier{barriers + 8 * z}; };
  const auto filled = [&](int part) { return CopyBarrier{barriers + 32 + 8 * part}; };  // twice a step
  const SplitBarrier inverted{barriers + 48}, dx_left{barriers + 56};
  if (threadIdx.x == 0) {
    for (int z = 0; z < 4; ++z) entered(z).init(512);
    filled(0).init(512), filled(1).init(512), inverted.init(512), dx_left.init(512);
  }
  const RowTransform<R, 4> transform(shared, lane, warp);
  const StorePlace<R> place(args.length, transform.n2(), lane);
  __syncthreads();

  const int batches = static_cast<int>(args.segments.batches);
  const int64_t begin = args.segments.begin(blockIdx.x), end = args.segments.begin(blockIdx.x + 1);
  const auto staged = [&](int part, int which) { return shared + Layout::kStaged + (2 * part + which) * Layout::kRow; };
  const auto copy = [&](int part, const bfloat16* row, const bfloat16* gate) {
    const int length = args.length - part * kPart;
    Row::copy(staged(part, 0), row + part * kPart, length, true, lane, warp);
    if (gate != nullptr) Row::copy(staged(part, 1), gate + part * kPart, length, true, lane, warp);
    filled(part).arrive_with_copies();
  };

  int64_t d = begin / batches;
  int b = static_cast<int>(begin % batches);
  bfloat16 *dy = args.dy.rows.at(d, b), *u = args.u.rows.at(d, b), *gate_in = args.gate_in.rows.at(d, b);
  bfloat16 *gate_out = args.gate_out.rows.at(d, b), *du = args.du.rows.at(d, b);
  bfloat16 *dgate_in = args.dgate_in.rows.at(d, b), *dgate_out = args.dgate_out.rows.at(d, b);
  for (int part = 0; part < 2; ++part) copy(part, dy, kGateOut ? gate_out : nullptr);
  bool fresh = true;  // the channel has no sums yet
  const ResidentSums resident;
  const uint32_t turns = static_cast<uint32_t>(end - begin);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    const bool last_batch = b + 1 == batches;
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      filled(part).wait(0);
      transform.template enter<kGateOut>(part, staged(part, 0), staged(part, 1));
      entered(part).arrive();
    }
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      entered(part).wait(turn);
      copy(part, u, kGateIn ? gate_in : nullptr);
    }
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      filled(part).wait(1);
      transform.template enter<kGateIn>(2 + part, staged(part, 0), staged(part, 1));
      entered(2 + part).arrive();
    }
    const bfloat16* const this_dy = dy;
    args.dy.move(dy, last_batch), args.gate_out.move(gate_out, last_batch);
    const auto copy_next_g = [&] {
      dx_left.wait(turn);
      if (turn + 1 == turns) return;
      for (int part = 0; part < 2; ++part) copy(part, dy, kGateOut ? gate_out : nullptr);
    };
    entered(2).wait(turn), entered(3).wait(turn);

    const int g_exponent = transform.scale_of_both(0), x_exponent = transform.scale_of_both(2);
    const float g_scale = power_of_two(g_exponent), x_scale = power_of_two(x_exponent);
    const float filter_scale = args.filters.scale[d] * (1.0f / R);
    const uint4* const filters = args.filters.values + d * (2 * 1024 * R);
    // Moved on and not indexed by i: the addresses of all would be kept in registers, and others spilled.
    float4* sums = args.sums + (d + blockIdx.x) * (2 * 2048 * R) + warp * R * 128 + lane;
#pragma unroll 1
    for (int i = 0; i < R; ++i, sums += 128) {
      const auto spectrum = [&](int z) {
        return transform.spectrum(z, i, transform.factors_to(z < 2 ? g_exponent : x_exponent, z));
      };
      const auto filter = [&](int part) { return load_filter<R>(filters + part * 1024 * R, i, lane, warp); };
      const auto load_sum = [&](int part) {
        TileSum sum{};
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          if (!fresh) sum.q[q] = resident.load(sums + part * 2048 * R + 32 * q);
        }
        return sum;
      };
      const auto store_sum = [&](int part, const TileSum& sum) {
#pragma unroll
        for (int q = 0; q < 4; ++q) resident.store(sums + part * 2048 * R + 32 * q, sum.q[q]);
      };
      const ComplexTile g0 = rounded(spectrum(0)), g1 = rounded(spectrum(1));
      ComplexTile tile = g1;
      multiply<true>(tile, filter(0));
      transform.invert(1, i, tile);
      tile = g0;
      multiply<true>(tile, filter(0));
      multiply_add<true>(tile, g1, filter(1));
      transform.invert(0, i, tile);

      ComplexSums x = spectrum(2);
      TileSum wrapped_sum = load_sum(1), sum = load_sum(0);
      wrapped_sum.add(x, g1, g_scale * x_scale);
      store_sum(1, wrapped_sum);
      sum.add(x, g0, g_scale * x_scale);
      const ComplexTile x0 = rounded(x);
      if constexpr (kGateOut) {
        tile = x0;
        multiply<false>(tile, filter(0));
        transform.invert(2, i, tile);
      }
      x = spectrum(3);
      sum.add(x, g1, g_scale * x_scale);
      store_sum(0, sum);
      if constexpr (kGateOut) {
        tile = rounded(x);
        multiply<false>(tile, filter(0));
        multiply_add<false>(tile, x0, filter(1));
        transform.invert(3, i, tile);
      }
    }
    fresh = last_batch;
    inverted.arrive();

    Fours<R> by_dgate_out[2];  // asked for a good while before it is needed
    inverted.wait(turn);
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      if constexpr (kGateOut) by_dgate_out[part].load(this_dy, place, part * kPart);
      const float scale = g_scale * filter_scale;
      transform.leave(part, [&](int a, int h, const float(&dx)[4]) {
        const uint32_t at = transform.fours(a, h);
        if constexpr (kGateIn) {
          if (args.du.present()) place.store(du, a, h, scaled(dx, scale, load_two(staged(part, 1) + at)), part * kPart);
          if (args.dgate_in.present()) {
            place.store(dgate_in, a, h, scaled(dx, scale, load_two(staged(part, 0) + at)), part * kPart);
          }
        } else if (args.du.present()) {
          place.store(du, a, h, scaled(dx, scale), part * kPart);
        }
      });
    }
    dx_left.arrive();
    if constexpr (kGateOut) {
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const float scale = x_scale * filter_scale;
        transform.leave(2 + part, [&](int a, int h, const float(&c)[4]) {
          if (args.dgate_out.present()) {
            place.store(dgate_out, a, h, scaled(c, scale, by_dgate_out[part].at[a][h]), part * kPart);
          }
        });
        if (part == 0) copy_next_g();
      }
    } else {
      copy_next_g();
    }
    args.u.move(u, last_batch), args.gate_in.move(gate_in, last_batch);
    args.du.move(du, last_batch), args.dgate_in.move(dgate_in, last_batch), args.dgate_out.move(dgate_out, last_batch);
    d += last_batch, b = last_batch ? 0 : b + 1;
  }
#endif
}

template <bool kGateIn, bool kGateOut>
void launch(Stream& stream, const BackwardArgs& args) {
  constexpr int kBytes = static_cast<int>(Layout::kBytes);
  const auto kernel = backward_kernel<kGateIn, kGateOut>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  kernel<<<static_cast<unsigned>(args.segments.parts), 512, kBytes, native(stream)>>>(args);
  launched("fft_conv_backward: fused, long");
}

}  // namespace

void backward_long(Stream& stream, const FftConvBackward& a) {
  const int64_t channels = a.u.size(0), batches = a.u.size(1), rows = channels * batches;
  const auto values = stream.scratch<uint4>(channels * 2 * 1024 * R);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<R, 2>(stream, Filters::of(a), values, scale);
  const Segments segments{rows, batches, static_cast<int>(std::min<int64_t>(rows, device_info().multiprocessors))};
  const auto sums = stream.scratch<float4>(segments.count() * 2 * 2048 * R);
  const BackwardArgs args{.dy = Walk(a.dy, 1),
                          .u = Walk(a.u, 1),
                          .gate_in = Walk(a.gate_in, 1),
                          .gate_out = Walk(a.gate_out, 1),
                          .du = Walk(a.du, 1),
                          .dgate_in = Walk(a.dgate_in, 1),
                          .dgate_out = Walk(a.dgate_out, 1),
                          .filters = {values, scale},
                          .sums = sums,
                          .segments = segments,
                          .length = static_cast<int>(a.u.size(2))};
  if (a.gate_in) {
    a.gate_out ? launch<true, true>(stream, args) : launch<true, false>(stream, args);
  } else {
    a.gate_out ? launch<false, true>(stream, args) : launch<false, false>(stream, args);
  }
  if (a.dk || a.dskip) {
    transform_gradients<R, 2>(stream, sums, segments, a);
  }
}

}  // namespace mara::kernels::cuda::fused
