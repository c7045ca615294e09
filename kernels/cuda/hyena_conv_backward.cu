// Fused Hyena operator backward, rows of up to 4096: dz, the sums for dk, and those for the short filters, in one pass
// that reads dy and z once. The long convolution is that of fft_conv_fused_backward.cu, g = dy p_0 beside x = p_1 p_v;
// p is made again from staged rows of z wherever it is needed (hyena_conv_rows.cuh).
//
// The gradients of p go through rows in shared memory: as bf16 they are convolved backwards on the way out, and summed
// with z (TapSums). The next g enters before, so that nobody waits for them.
//
// Bound by latency and by shared memory, which is busy for 76 % of the time, before instructions: sums stay there
// between steps, for registers that do not fit would pass through it more often.

#include <algorithm>

#include "kernels/common/hyena_parts.h"
#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_sums.cuh"
#include "kernels/cuda/hyena_conv_fused.h"
#include "kernels/cuda/hyena_conv_rows.cuh"
#include "kernels/cuda/short_weight.cuh"

namespace mara::kernels::cuda::hyena {
namespace {

struct BackwardArgs {
  Walk dy, z, dz;           // x_0's of z and dz
  int64_t z_part, dz_part;  // elements from x_0 to x_1 and from there to v
  const TapOperands* taps;  // of 3 D channels, then backwards
  FilterSpectra filters;
  float4* sums;
  uint4* tap_sums;  // of f32
  Segments segments;
  int64_t channels;
  int length, rows;  // of a channel
};

/// Shared memory: the transform's, the sums for dk, rows of the gradients of p; slots, of which even and odd steps have
/// their own, rows of dy and z, taps and taps backwards; the sums for the taps.
template <int P>
struct BackwardLayout {
  using Transform = RowTransform<1, 2, P, true, true>;
  static constexpr uint32_t kRow = HyenaRow<1, P>::kBytes, kTaps = sizeof(TapOperands);
  static constexpr uint32_t kSums = Transform::kBytes, kDp = kSums + SpectrumSums<1, P, true>::kBytes;
  static constexpr uint32_t kDy = kDp + 3 * kRow, kZ = kDy + kRow, kTapsAt = kZ + 3 * kRow;
  static constexpr uint32_t kSlot = kTapsAt + 6 * kTaps - kDy, kTapSums = kDy + 2 * kSlot;
  static constexpr uint32_t kBarriers = kTapSums + 3 * TapSums<P>::kBytes, kBytes = kBarriers + 56;
};

template <int P>
__global__ void __launch_bounds__(512, 1) backward_kernel(const __grid_constant__ BackwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Layout = BackwardLayout<P>;
  using Row = HyenaRow<1, P>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout::kBarriers;
  const int lane = threadIdx.x % 32, warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);  // alike in a warp
  const SplitBarrier entered[2] = {{barriers}, {barriers + 8}}, inverted[2] = {{barriers + 16}, {barriers + 24}};
  const SplitBarrier dp_written{barriers + 32};
  const CopyBarrier filled[2] = {{barriers + 40}, {barriers + 48}};  // with g, with x
  if (threadIdx.x == 0) {
    for (int z = 0; z < 2; ++z) entered[z].init(512), inverted[z].init(512), filled[z].init(512);
    dp_written.init(512);
  }
  const typename Layout::Transform transform(shared, lane, warp);
  const ShortConvolution<1, P> convolution(transform.n2(), lane);
  const ShortConvolution<1, P, true> backwards(transform.n2(), lane);
  const TapSums<P> tap_sums(shared + Layout::kTapSums, transform.n2(), lane, warp);
  const StorePlace<1, P> place(args.length, transform.n2(), lane);
  const int copied_row = row_of<P>(warp), stored_row = place.row(lane);  // of P
  SpectrumSums<1, P, true> sums(shared + Layout::kSums, lane, warp);
  __syncthreads();

  const int batches = static_cast<int>(args.segments.batches);  // or P of them
  const int64_t begin = args.segments.begin(blockIdx.x), end = args.segments.begin(blockIdx.x + 1);
  const auto slot = [&](uint32_t turn) { return shared + turn % 2 * Layout::kSlot; };
  int64_t d = begin / batches;
  int b = static_cast<int>(begin % batches);
  const int read_at = Row::share(lane, warp);
  const auto start = [&](const Walk& walk, int row, int offset) { return walk.rows.at(d, P * b + row) + offset; };
  bfloat16 *dy = start(args.dy, copied_row, read_at), *z = start(args.z, copied_row, read_at);
  bfloat16* dz = start(args.dz, stored_row, place.offset);
  const auto copy_row = [&](uint32_t to, const bfloat16* from, int b) {
    Row::copy_own(to + warp * Row::kStride + 16 * lane, from, args.length - read_at,
                  P == 1 || P * b + copied_row < args.rows);
  };
  const auto copy_taps = [&](int i, uint32_t turn, int64_t d) {
    const uint32_t piece = 16 * threadIdx.x;
    const char* from = reinterpret_cast<const char*>(args.taps + i * args.channels + d) + piece;
    if (piece < Layout::kTaps) copy_async_16(slot(turn) + Layout::kTapsAt + i * Layout::kTaps + piece, from, true);
  };
  const auto copy = [&](uint32_t turn, int b, int64_t d) {
    copy_row(slot(turn) + Layout::kDy, dy, b);
    copy_row(slot(turn) + Layout::kZ, z, b);
    copy_taps(0, turn, d);
    filled[0].arrive_with_copies();
#pragma unroll
    for (int part = 1; part < 3; ++part) {
      copy_row(slot(turn) + Layout::kZ + part * Layout::kRow, z + part * args.z_part, b);
      copy_taps(part, turn, d);
    }
#pragma unroll
    for (int part = 3; part < 6; ++part) copy_taps(part, turn, d);
    filled[1].arrive_with_copies();
  };
  copy(0, b, d);
  ComplexTile filter;
  float filter_scale = 0, g_scale = 0, x_scale = 0;
  ComplexTile g;
  const uint32_t turns = static_cast<uint32_t>(end - begin);
  const auto z_row = [](int part) { return Layout::kZ + part * Layout::kRow; };
  const auto taps_at = [](int i) { return Layout::kTapsAt + i * Layout::kTaps; };

  const auto g_enters = [&](uint32_t turn) {
    filled[0].wait(turn);
    float x[1][2][4];
    convolution.enter(x[0], slot(turn), z_row(0), taps_at(0), 0);
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // piece 2 t + i % 2 + 8 (i / 2)
      const uint32_t pair = load_word(slot(turn) + Layout::kDy + 32 * transform.n2() + lane / 4 * 4 +
                                      (lane % 4 * 2 + i % 2 + i / 2 * 8) * Row::kStride);
      x[0][i / 2][i % 2] *= low_of(pair), x[0][i / 2][2 + i % 2] *= high_of(pair);
    }
    transform.enter(0, x);
    entered[0].arrive();
  };
  const auto x_enters = [&](uint32_t turn) {
    filled[1].wait(turn);
    float x[1][2][4], factor[2][4];
    convolution.enter(x[0], slot(turn), z_row(2), taps_at(2), 0);
    convolution.enter(factor, slot(turn), z_row(1), taps_at(1), 0);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[0][i / 4][i % 4] *= factor[i / 4][i % 4];
    transform.enter(1, x);
    entered[1].arrive();
  };
  const auto scale_at = [&](int z, int h) {  // 0 beyond a row
    const float scale = (P > 1 ? transform.announced(z, h) : z == 0 ? g_scale : x_scale) * filter_scale;
    return (P == 1 ? 2048 * h : 0) < place.left ? scale : 0;
  };
  const auto put_dp = [&](int part, int h, uint2 four) {
    const uint32_t at = shared + Layout::kDp + part * Layout::kRow + transform.fours(0, h);
    asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(at), "r"(four.x), "r"(four.y) : "memory");
  };
  const auto dz_leaves = [&](uint32_t turn) {
    dp_written.wait(turn);
    const uint32_t base = slot(turn);
#pragma unroll
    for (int part = 0; part < 3; ++part) {
      const uint32_t dp = Layout::kDp + part * Layout::kRow;
      float y[2][4];
      backwards.leave(y, shared, dp, base - shared + taps_at(3 + part), 0);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint2 four = {pack_pair(y[0][2 * h], y[1][2 * h]), pack_pair(y[0][2 * h + 1], y[1][2 * h + 1])};
        const bool present = P == 1 || P * b + stored_row + h * P / 2 < args.rows;
        if (present) place.put(dz + part * args.dz_part + h * P / 2 * args.dz.rows.batch, 0, h, four);
      }
      tap_sums.add(part, base + z_row(part), base + taps_at(part) + offsetof(TapOperands, outside), shared + dp);
    }
  };

  g_enters(0), x_enters(0);
  bool new_channel = true;
  for (uint32_t turn = 0; turn < turns; ++turn) {
    if (new_channel) {
      sums.clear();
      tap_sums.clear();
      filter = load_filter<1, P>(args.filters.values + d * (1024 / P), 0, lane, warp);
      filter_scale = args.filters.scale[d];
    }
    const bool last = b + 1 == batches, more = turn + 1 < turns;
    new_channel = last;
    entered[0].wait(turn);
    {
      const int exponent = transform.common_scale(0);
      const auto factors = transform.factors_to(exponent, 0);
      g_scale = transform.scale_of(0, exponent);
      g = rounded(transform.spectrum(0, 0, factors));
      ComplexTile tile = g;
      multiply<true>(tile, filter);
      transform.invert(0, 0, tile);
      inverted[0].arrive();
    }
    entered[1].wait(turn);
    args.dy.move(dy, last), args.z.move(z, last);
    if (more) copy(turn + 1, last ? 0 : b + 1, d + last);
    {
      const int exponent = transform.common_scale(1);
      const auto factors = transform.factors_to(exponent, 1);
      x_scale = transform.scale_of(1, exponent);
      const ComplexSums x = transform.spectrum(1, 0, factors);
      sums.add(0, x, g, g_scale * x_scale);
      ComplexTile tile = rounded(x);
      multiply<false>(tile, filter);
      transform.invert(1, 0, tile);
      inverted[1].arrive();
    }
    const uint32_t base = slot(turn);
    inverted[0].wait(turn);
    {
      const float scales[2] = {scale_at(0, 0), scale_at(0, 1)};
      float p1[2][4], p2[2][4];
      convolution.leave(p1, base, z_row(1), taps_at(1), 0);
      convolution.leave(p2, base, z_row(2), taps_at(2), 0);
      transform.leave(0, [&](int, int h, const float(&dx)[4]) {
        const auto times = [&](const float(&p)[2][4]) {
          float dp[4];
#pragma unroll
          for (int i = 0; i < 4; ++i) dp[i] = dx[i] * p[i % 2][2 * h + i / 2];
          return scaled(dp, scales[h]);
        };
        put_dp(1, h, times(p2)), put_dp(2, h, times(p1));
      });
    }
    inverted[1].wait(turn);
    {
      const float scales[2] = {scale_at(1, 0), scale_at(1, 1)};
      transform.leave(1, [&](int, int h, const float(&c)[4]) {
        put_dp(0, h, scaled(c, scales[h], load_two(base + Layout::kDy + transform.fours(0, h))));
      });
    }
    dp_written.arrive();
    if (more) g_enters(turn + 1);
    dz_leaves(turn);
    args.dz.move(dz, last);
    if (last || !more) {
      if (args.sums != nullptr) sums.write(args.sums + (d + blockIdx.x) * (2048 / P));
      tap_sums.write(args.tap_sums + (d + blockIdx.x) * 1536 + threadIdx.x);
    }
    if (more) x_enters(turn + 1);
    d += last, b = last ? 0 : b + 1;
  }
#endif
}

struct TapGradientArgs {
  const uint4* sums;
  Segments segments;
  int64_t channels;  // D
  ShortWeight weight, dweight;
  PerChannel input_bias, dbias, dinput_bias;
  bool accumulate_weight, accumulate_bias, accumulate_input_bias;
};

/// Block c takes channel c of 3 D, each of its threads an entry of the sums.
__global__ void __launch_bounds__(128) tap_gradients(const __grid_constant__ TapGradientArgs args) {
  __shared__ float entry[16][8];
  const int64_t channel = blockIdx.x, part = channel / args.channels, d = channel % args.channels;
  const Segments& segments = args.segments;
  const int thread = static_cast<int>(threadIdx.x);
  float sum = 0;
  for (int64_t p = segments.part_of(d * segments.batches); segments.begin(p) < (d + 1) * segments.batches; ++p) {
    const float* from = reinterpret_cast<const float*>(args.sums + ((d + p) * 3 + part) * 512) + thread;
#pragma unroll
    for (int warp = 0; warp < 16; ++warp) sum += from[128 * warp];
  }
  const int lane = thread / 4, q = thread % 4;
  entry[lane / 4 + q / 2 * 8][lane % 4 * 2 + q % 2] = sum;
  __syncthreads();
  if (thread > 4) return;
  float total = 0;  // of the gradient of p
  for (int n = 0; n < 8; ++n) total += entry[0][n];
  const auto give = [](float& out, bool accumulate, float value) { out = accumulate ? out + value : value; };
  const int taps = args.weight.taps;
  if (thread < 4) {
    const int lag = thread;
    if (lag >= taps || args.dweight.data == nullptr) return;
    float of_lag = 0;
    for (int n = 0; n < 8; ++n) of_lag += entry[n + 8 - lag][n];
    of_lag += args.input_bias.at_or_zero(channel) * total;
    give(args.dweight.at_lag(channel, lag), args.accumulate_weight, of_lag);
    return;
  }
  if (args.dbias.data != nullptr) give(args.dbias.at(channel), args.accumulate_bias, total);
  if (args.dinput_bias.data == nullptr) return;
  float weighted = 0;  // sum_lag weight[lag] times the sum from position `lag` on
  for (int lag = 0; lag < taps; ++lag) {
    weighted += args.weight.at_lag(channel, lag) * total;
    total -= entry[1][lag];
  }
  give(args.dinput_bias.at(channel), args.accumulate_input_bias, weighted);
}

template <int P>
void backward_of(Stream& stream, const HyenaConvBackward& a) {
  constexpr int kBytes = static_cast<int>(BackwardLayout<P>::kBytes);
  const int64_t channels = a.dy.size(0), batches = ceil_div(a.dy.size(1), P), rows = channels * batches;
  const auto values = stream.scratch<uint4>(channels * 1024 / P);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<1, 1, P>(stream, {a.k, {}, a.skip, ConvForm::causal, a.dy.size(2)}, values, scale);
  const auto taps = stream.scratch<TapOperands>(6 * channels);
  make_tap_operands(stream, a.short_weight, a.short_bias, a.input_bias, taps, taps + 3 * channels);
  const Segments segments{rows, batches, static_cast<int>(std::min<int64_t>(rows, device_info().multiprocessors))};
  const bool sums_wanted = a.dk || a.dskip;
  const auto sums = stream.scratch<float4>(sums_wanted ? segments.count() * 2048 / P : 0);
  const auto tap_sums = stream.scratch<uint4>(segments.count() * 3 * 512);
  const BackwardArgs args{.dy = Walk(a.dy, P),
                          .z = Walk(hyena_part(a.z, 0), P),
                          .dz = Walk(hyena_part(a.dz, 0), P),
                          .z_part = channels * a.z.stride[0],
                          .dz_part = channels * a.dz.stride[0],
                          .taps = taps,
                          .filters = {values, scale},
                          .sums = sums_wanted ? sums.get() : nullptr,
                          .tap_sums = tap_sums,
                          .segments = segments,
                          .channels = channels,
                          .length = static_cast<int>(a.dy.size(2)),
                          .rows = static_cast<int>(a.dy.size(1))};
  const auto kernel = backward_kernel<P>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  kernel<<<static_cast<unsigned>(segments.parts), 512, kBytes, native(stream)>>>(args);
  launched("hyena_conv_backward: fused");
  if (sums_wanted) {
    transform_gradients<1, 1, P>(stream, sums, segments,
                                 {.u = a.dy,
                                  .dk = a.dk,
                                  .dskip = a.dskip,
                                  .accumulate_k = a.accumulate_k,
                                  .accumulate_skip = a.accumulate_skip});
  }
  if (!a.dshort_weight && !a.dshort_bias && !a.dinput_bias) return;
  tap_gradients<<<exact_grid(3 * channels), 128, 0, native(stream)>>>(
      {.sums = tap_sums,
       .segments = segments,
       .channels = channels,
       .weight = ShortWeight(a.short_weight),
       .dweight = ShortWeight(a.dshort_weight),
       .input_bias = PerChannel(a.input_bias),
       .dbias = PerChannel(a.dshort_bias),
       .dinput_bias = PerChannel(a.dinput_bias),
       .accumulate_weight = a.accumulate_short_weight,
       .accumulate_bias = a.accumulate_short_bias,
       .accumulate_input_bias = a.accumulate_input_bias});
  launched("hyena_conv_backward: tap_gradients");
}

}  // namespace

void backward(Stream& stream, const HyenaConvBackward& args) {
  const int64_t length = args.dy.size(2);
  if (length <= 1024) return backward_of<4>(stream, args);
  if (length <= 2048) return backward_of<2>(stream, args);
  backward_of<1>(stream, args);
}

}  // namespace mara::kernels::cuda::hyena
