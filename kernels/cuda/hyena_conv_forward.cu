// Fused Hyena operator forward: y = p_0 conv(p_1 p_v, k), p the short convolutions of z. The long convolution is
// that of fft_conv_fused_forward.cu, with its order of stages; rows of z are staged as they are, convolved when they
// enter (hyena_conv_rows.cuh), and those of x_0 when their row leaves.
//
// Beyond its end a row's x is what biases alone make. Nothing causal sees it, and what wraps around is the imaginary
// part; backward, g is 0 there and the gradients of p are made to be.
//
// Bound by instructions and latency before device memory, of which it asks for four passes instead of ten.

#include <algorithm>

#include "kernels/common/hyena_parts.h"
#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/hyena_conv_fused.h"
#include "kernels/cuda/hyena_conv_rows.cuh"

namespace mara::kernels::cuda::hyena {
namespace {

struct ForwardArgs {
  Walk z[3], y;  // x_0, x_1, v
  const TapOperands* taps;
  FilterSpectra filters;
  int64_t channels, steps;
  int batches, length, per_channel;  // steps of a channel
};

/// Shared memory: the transform's, then slots, of which even and odd steps have their own: taps and rows of x_0, and
/// with R = 1 those of x_1 and v, which all steps share with R = 2.
template <int R, int P>
struct ForwardLayout {
  using Transform = RowTransform<R, 2, P, false, true>;
  static constexpr uint32_t kRow = HyenaRow<R, P>::kBytes, kTaps = sizeof(TapOperands);
  static constexpr uint32_t kX0 = Transform::kBytes, kTapsAt = kX0 + 2 * kRow,
                            kSlot = 3 * kTaps + (R == 1 ? 6 : 2) * kRow;
  static constexpr uint32_t kX1 = R == 1 ? kTapsAt + 3 * kTaps : kX0 + 2 * kSlot, kV = kX1 + 2 * kRow;
  static constexpr uint32_t kBarriers = R == 1 ? kX0 + 2 * kSlot : kV + 2 * kRow, kBytes = kBarriers + 48;
};

template <int R, int P>
__global__ void __launch_bounds__(512, 1) forward_kernel(const __grid_constant__ ForwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Layout = ForwardLayout<R, P>;
  using Row = HyenaRow<R, P>;
  using Place = StorePlace<R, P>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout::kBarriers;
  const int lane = R == 1 ? kept_lane(shared + Layout::Transform::kPlanes) : threadIdx.x % 32;
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);  // alike in a warp
  const SplitBarrier entered[2] = {{barriers}, {barriers + 8}}, inverted[2] = {{barriers + 16}, {barriers + 24}};
  const CopyBarrier filled{barriers + 32}, gates_filled{barriers + 40};
  if (threadIdx.x == 0) {
    for (int z = 0; z < 2; ++z) entered[z].init(512), inverted[z].init(512);
    filled.init(512), gates_filled.init(512);
  }
  const typename Layout::Transform transform(shared, lane, warp);
  const ShortConvolution<R, P> convolution(transform.n2(), lane);
  __syncthreads();

  const int64_t begin = args.steps * blockIdx.x / gridDim.x, end = args.steps * (blockIdx.x + 1) / gridDim.x;
  int index = static_cast<int>(begin % args.per_channel);
  int64_t d = begin / args.per_channel;
  const int read_row = row_of<P>(warp), read_at = Row::share(lane, warp), left = args.length - read_at;
  const Place place(args.length, transform.n2(), lane);
  const auto start = [&](const Walk& walk, int row, int at) { return walk.rows.at(d, 2 * P * index + row) + at; };
  bfloat16 *x0 = start(args.z[0], read_row, read_at), *x1 = start(args.z[1], read_row, read_at);
  bfloat16 *v = start(args.z[2], read_row, read_at), *y = start(args.y, Place::row(lane), place.offset);
  const auto slot = [&](uint32_t turn) { return shared + turn % 2 * Layout::kSlot; };
  const auto input_slot = [&](uint32_t turn) { return R == 1 ? slot(turn) : shared; };
  const auto copy_row = [&](uint32_t to, const Walk& walk, const bfloat16* first, int index, int z) {
    Row::copy_own(to + warp * Row::kStride + 16 * lane, first + z * P * walk.rows.batch, left,
                  P * (2 * index + z) + read_row < args.batches);
  };
  const auto copy_taps = [&](int part, uint32_t turn, int64_t d) {
    const uint32_t piece = 16 * threadIdx.x;
    const char* from = reinterpret_cast<const char*>(args.taps + part * args.channels + d) + piece;
    if (piece < Layout::kTaps) copy_async_16(slot(turn) + Layout::kTapsAt + part * Layout::kTaps + piece, from, true);
  };
  const auto copy_inputs = [&](uint32_t turn, int index, int64_t d) {
#pragma unroll
    for (int z = 0; z < 2; ++z) {
      copy_row(input_slot(turn) + Layout::kX1 + z * Layout::kRow, args.z[1], x1, index, z);
      copy_row(input_slot(turn) + Layout::kV + z * Layout::kRow, args.z[2], v, index, z);
    }
    copy_taps(1, turn, d), copy_taps(2, turn, d);
    filled.arrive_with_copies();
  };
  const auto copy_gates = [&](uint32_t turn, int index, int64_t d) {
#pragma unroll
    for (int z = 0; z < 2; ++z) copy_row(slot(turn) + Layout::kX0 + z * Layout::kRow, args.z[0], x0, index, z);
    copy_taps(0, turn, d);
    gates_filled.arrive_with_copies();
  };
  copy_inputs(0, index, d);
  copy_gates(0, index, d);
  ComplexTile filter[R];
  float filter_scale = 0;
  bool new_filter = true;
  const uint32_t turns = static_cast<uint32_t>(end - begin);
  const auto enter = [&](uint32_t turn, int z) {
    if (z == 0) filled.wait(turn);
    const uint32_t taps = slot(turn) - input_slot(turn) + Layout::kTapsAt;
    float x[R][2][4];
#pragma unroll
    for (int a = 0; a < R; ++a) {
      float factor[2][4];
      convolution.enter(x[a], input_slot(turn), Layout::kV + z * Layout::kRow, taps + 2 * Layout::kTaps, a);
      convolution.enter(factor, input_slot(turn), Layout::kX1 + z * Layout::kRow, taps + Layout::kTaps, a);
#pragma unroll
      for (int i = 0; i < 8; ++i) x[a][i / 4][i % 4] *= factor[i / 4][i % 4];
    }
    transform.enter(z, x);
    entered[z].arrive();
  };
  enter(0, 0), enter(0, 1);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    if (new_filter) {
#pragma unroll
      for (int i = 0; i < R; ++i) {
        filter[i] = load_filter<R, P>(args.filters.values + d * (1024 * R / P), i, lane, warp);
      }
      filter_scale = args.filters.scale[d] * (1.0f / R);
    }
    const bool last = index + 1 == args.per_channel;
    new_filter = last;
    const int next_index = last ? 0 : index + 1;
    const int64_t next_d = d + last;

    float scale[2];
#pragma unroll
    for (int z = 0; z < 2; ++z) {
      entered[z].wait(turn);
      if (z == (R == 1 ? 0 : 1) && turn + 1 < turns) {
        args.z[1].move(x1, last), args.z[2].move(v, last);
        copy_inputs(turn + 1, next_index, next_d);
      }
      if (z == 1) {
        gates_filled.wait(turn);  // nobody arrives for the next before he has seen this one
        if (turn + 1 < turns) {
          args.z[0].move(x0, last);
          copy_gates(turn + 1, next_index, next_d);
        }
      }
      const int exponent = transform.common_scale(z);
      scale[z] = transform.scale_of(z, exponent);
      const auto factors = transform.factors_to(exponent, z);
#pragma unroll
      for (int i = 0; i < R; ++i) {
        ComplexTile tile = rounded(transform.spectrum(z, i, factors));
        multiply<false>(tile, filter[i]);
        transform.invert(z, i, tile);
      }
      inverted[z].arrive();
    }

#pragma unroll
    for (int z = 0; z < 2; ++z) {
      inverted[z].wait(turn);
      const auto scale_at = [&](int h) { return (P > 1 ? transform.announced(z, h) : scale[z]) * filter_scale; };
      const float scales[2] = {scale_at(0), scale_at(1)};
      float gate[R][2][4];
#pragma unroll
      for (int a = 0; a < R; ++a) {
        convolution.leave(gate[a], slot(turn), Layout::kX0 + z * Layout::kRow, Layout::kTapsAt, a);
      }
      transform.leave(z, [&](int a, int h, const float(&c)[4]) {
        float gated[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) gated[i] = c[i] * gate[a][i % 2][2 * h + i / 2];
        const int row = P * z + h * P / 2;
        if (2 * P * index + row + Place::row(lane) < args.batches) {
          place.put(y + row * args.y.rows.batch, a, h, scaled(gated, scales[h]));
        }
      });
      if (turn + 1 < turns) enter(turn + 1, z);
    }
    args.y.move(y, last);
    index = next_index, d = next_d;
  }
#endif
}

template <int R, int P>
void forward_of(Stream& stream, const HyenaConvForward& a) {
  constexpr int kBytes = static_cast<int>(ForwardLayout<R, P>::kBytes);
  const int64_t channels = a.y.size(0), batches = a.y.size(1), per_channel = ceil_div(batches, 2 * P);
  const auto values = stream.scratch<uint4>(channels * 1024 * R / P);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<R, 1, P>(stream, {a.k, {}, a.skip, ConvForm::causal, a.y.size(2)}, values, scale);
  const auto taps = stream.scratch<TapOperands>(3 * channels);
  make_tap_operands(stream, a.short_weight, a.short_bias, a.input_bias, taps);
  const auto walk = [&](int part) { return Walk(hyena_part(a.z, part), 2 * P); };
  const ForwardArgs args{.z = {walk(0), walk(1), walk(2)},
                         .y = Walk(a.y, 2 * P),
                         .taps = taps,
                         .filters = {values, scale},
                         .channels = channels,
                         .steps = channels * per_channel,
                         .batches = static_cast<int>(batches),
                         .length = static_cast<int>(a.y.size(2)),
                         .per_channel = static_cast<int>(per_channel)};
  const auto kernel = forward_kernel<R, P>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int64_t blocks = std::min<int64_t>(args.steps, device_info().multiprocessors);
  kernel<<<static_cast<unsigned>(blocks), 512, kBytes, native(stream)>>>(args);
  launched("hyena_conv_forward: fused");
}

}  // namespace

void forward(Stream& stream, const HyenaConvForward& args) {
  const int64_t length = args.y.size(2);
  if (length <= 1024) return forward_of<1, 4>(stream, args);
  if (length <= 2048) return forward_of<1, 2>(stream, args);
  if (length <= 4096) return forward_of<1, 1>(stream, args);
  forward_of<2, 1>(stream, args);
}

}  // namespace mara::kernels::cuda::hyena
