// Fused long convolution forward of rows of up to 4096: y = gate_out * conv(gate_in * u, k), one pass over the rows.
// See fft_conv_row.cuh for the transform.
//
// Bound by latency and instructions before device memory. One block per multiprocessor takes a contiguous range of
// steps in the order of channels, each a row or P short ones. Sixteen of its warps have the inner stages, a k1 each,
// with that part of the filter's spectrum in registers. The other eight have the outer stages, of two n2 each, and all
// that passes between device memory and the block: they copy rows in whole lines and find each row's scale, which all
// its columns have from the beginning. Several steps are in the block at a time, each a stage further than the next, so
// that warps wait for others only where these are behind by more than a step.

#include <algorithm>

#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.cuh"
#include "kernels/cuda/fft_conv_fused.h"

namespace mara::kernels::cuda::fused {
namespace {

constexpr int kInnerWarps = 16, kOuterWarps = 8, kThreads = 32 * (kInnerWarps + kOuterWarps);
constexpr int kShare = 16 / kOuterWarps;  // n2 of an outer warp, and pieces of a row that it copies
/// Steps in the block, between their first stage and their last, and as many on their way into it.
constexpr uint32_t kSlots = 4;

struct ShortArgs {
  Walk u, gate_in, gate_out, y;
  FilterSpectra filters;
  int batches, length;
  int per_channel;  // steps of a channel
  int64_t steps;    // of all
};

/// Shared memory, by slots: planes, staged rows, the exponents that outer warps have found in their pieces, scales of
/// rows and of results, barriers.
template <int P, bool kGateIn, bool kGateOut>
struct ShortLayout {
  using Planes = ComplexPlanes<16>;
  using Row = StagedRow<1, P>;
  static constexpr uint32_t kRow = Row::kBytes, kU = kSlots * Planes::kBytes, kGateInAt = kU + kSlots * kRow;
  static constexpr uint32_t kGateOutAt = kGateInAt + kGateIn * kSlots * kRow;
  static constexpr uint32_t kExponents = kGateOutAt + kGateOut * kSlots * kRow;
  static constexpr uint32_t kScales = kExponents + kSlots * kOuterWarps * 2;
  static constexpr uint32_t kBarriers = kScales + 2 * kSlots * P * 4, kBytes = kBarriers + 3 * kSlots * 8;

  uint32_t shared;

  __device__ __forceinline__ uint32_t row(uint32_t first, uint32_t step) const {
    return shared + first + step % kSlots * kRow;
  }
  __device__ __forceinline__ uint32_t planes(uint32_t step) const { return shared + step % kSlots * Planes::kBytes; }
  __device__ __forceinline__ uint32_t exponents(uint32_t step) const {
    return shared + kExponents + step % kSlots * kOuterWarps * 2;
  }
  /// A row's scale as f32, and with the filter's, twice as bf16, its result's.
  __device__ __forceinline__ uint32_t row_scale(uint32_t step, int row) const {
    return shared + kScales + (step % kSlots * P + row) * 4;
  }
  __device__ __forceinline__ uint32_t scale(uint32_t step, int row) const {
    return row_scale(step, row) + kSlots * P * 4;
  }
  /// A step's rows are there, with all exponents, and gate_out of the one before it by kSlots; it has passed the first
  /// stage; the inner ones.
  __device__ __forceinline__ SplitBarrier filled(uint32_t step) const { return barrier(0, step); }
  __device__ __forceinline__ PatientBarrier entered(uint32_t step) const { return barrier(1, step); }
  __device__ __forceinline__ SplitBarrier inverted(uint32_t step) const { return barrier(2, step); }

 private:
  __device__ __forceinline__ PatientBarrier barrier(uint32_t kind, uint32_t step) const {
    return {shared + kBarriers + (kind * kSlots + step % kSlots) * 8};
  }
};

/// The inner stages of one k1.
template <int P>
class InnerStages {
  using Planes = ComplexPlanes<16>;

 public:
  __device__ __forceinline__ InnerStages(uint32_t planes, int lane, int k1)
      : matrix_(inner_matrix(lane, 0), planes + (32 * k1 + lane) * 16),
        twiddle_(inner_twiddle(lane, (static_cast<float>(within_row<P>(k1)) - 0.25f) * P / 16)),
        load_(opaque(Planes::lane_in_row(lane % 8 + lane / 8 % 2 * 16 + lane / 16 * 8, k1))),
        store_(opaque(Planes::lane_in_row(lane, k1))) {}

  /// Convolves the row with the filter of this spectrum.
  __device__ __forceinline__ void convolve(uint32_t planes, const ComplexTile& filter) const {
    const ComplexTile row = Planes::load_transposed(planes + load_);  // registers in the order of b operands
    ComplexTile tile{{row.re[0], row.re[2], row.re[1], row.re[3]}, {row.im[0], row.im[2], row.im[1], row.im[3]}};
    tile = rounded(multiply_left<false>(matrix_, tile));
    multiply<false>(tile, twiddle_);
    tile = rounded(multiply_right<false>(tile, matrix_));
    multiply<false>(tile, filter);
    tile = rounded(multiply_left<true>(matrix_, tile));
    multiply<true>(tile, twiddle_);
    Planes::store_transposed(planes + store_, rounded(multiply_right<true>(tile, matrix_)));
  }

 private:
  SymmetricMatrix matrix_;
  ComplexTile twiddle_;
  uint32_t load_, store_;
};

/// The outer stages of kShare neighbouring n2.
template <int P, bool kGateIn, bool kGateOut>
class OuterStages {
  using Layout = ShortLayout<P, kGateIn, kGateOut>;
  using Planes = typename Layout::Planes;
  using Row = typename Layout::Row;

 public:
  /// For positions of n2 from `first` on.
  __device__ __forceinline__ OuterStages(const Layout& layout, int lane, int first)
      : layout_(layout),
        lane_(lane),
        pairs_(32 * natural(first) + Row::lane_as_pairs(lane)),
        fours_(32 * natural(first) + Row::lane_as_fours(lane)),
        as_tile_(opaque(Planes::lane_as_tile(lane, first))) {
    static_assert(kShare == 2);
#pragma unroll
    for (int i = 0; i < kShare; ++i) {
      const float offset = static_cast<float>(natural(first + i)) / 16;
      enter_[i] = outer_matrix<P>(lane, offset, false);
      leave_[i] = outer_matrix<P>(lane, offset, true);
      if constexpr (P > 1) {
        const uint32_t own = layout.planes(1) + (32 * (first + i) + lane) * 16;
        hide(enter_[i].re, own), hide(enter_[i].im, own), hide(leave_[i].re, own), hide(leave_[i].im, own);
      }
    }
  }

  /// What the first stage reads.
  struct Entering {
    uint32_t pairs[kOuterWarps / 2], u[kShare][4], w[kShare][4];
  };
  __device__ __forceinline__ Entering load_entering(uint32_t step) const {
    Entering in;
    for (int i = 0; i < kOuterWarps / 2; i += 4) {
      const uint4 four = load_four(layout_.exponents(step) + 4 * i);
      in.pairs[i] = four.x, in.pairs[i + 1] = four.y, in.pairs[i + 2] = four.z, in.pairs[i + 3] = four.w;
    }
    const uint32_t u = layout_.row(Layout::kU, step) + pairs_, w = layout_.row(Layout::kGateInAt, step) + pairs_;
#pragma unroll
    for (int n = 0; n < kShare; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        in.u[n][i] = load_word(u + 32 * n + 4 * i * Row::kStride);
        if constexpr (kGateIn) in.w[n][i] = load_word(w + 32 * n + 4 * i * Row::kStride);
      }
    }
    return in;
  }
  /// The first stage; lets all know the scales if `announces`.
  __device__ __forceinline__ void enter(uint32_t step, const Entering& in, bool announces) const {
    uint32_t by[4];  // scales of rows t + 4 i of 16, twice in a word, which put the largest magnitude into [2, 4)
    scales(step, in.pairs, by, announces);
    ComplexTile q[kShare];
#pragma unroll
    for (int n = 0; n < kShare; ++n) {
      uint32_t x[2][2];  // b operands: n-tile j holds columns 2 g + j
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t first = in.u[n][2 * half], second = in.u[n][2 * half + 1];
        float a[2], b[2];
        if constexpr (kGateIn) {
          const uint32_t by_first = multiply_bf16(in.w[n][2 * half], by[2 * half]);
          const uint32_t by_second = multiply_bf16(in.w[n][2 * half + 1], by[2 * half + 1]);
          a[0] = low_of(first) * low_of(by_first), b[0] = high_of(first) * high_of(by_first);
          a[1] = low_of(second) * low_of(by_second), b[1] = high_of(second) * high_of(by_second);
        } else {
          first = multiply_bf16(first, by[2 * half]), second = multiply_bf16(second, by[2 * half + 1]);
          a[0] = low_of(first), b[0] = high_of(first), a[1] = low_of(second), b[1] = high_of(second);
        }
        x[0][half] = pack_halves(a[0], a[1]), x[1][half] = pack_halves(b[0], b[1]);
        if constexpr (P > 1) x[0][half] = at_most_four(x[0][half]), x[1][half] = at_most_four(x[1][half]);
      }
      q[n] = outer_products(enter_[n], x);
    }
#pragma unroll
    for (int n = 0; n < kShare; ++n) Planes::store(tile(step, n), q[n]);
  }

  /// What the last stage reads, of the step before `step` by kSlots.
  struct Leaving {
    ComplexTile q[kShare];
    uint2 by[kShare][2];
    uint32_t scale[2];  // of rows, twice in a word
  };
  __device__ __forceinline__ Leaving load_leaving(uint32_t step, int row) const {
    Leaving out;
#pragma unroll
    for (int n = 0; n < kShare; ++n) out.q[n] = Planes::load_transposed(tile(step, n));
    out.scale[0] = load_word(layout_.scale(step, row));
    out.scale[1] = P == 1 ? out.scale[0] : load_word(layout_.scale(step, row + P / 2));
    if constexpr (kGateOut) {
      const uint32_t gates = layout_.row(Layout::kGateOutAt, step) + fours_;
#pragma unroll
      for (int n = 0; n < kShare; ++n) {
#pragma unroll
        for (int h = 0; h < 2; ++h) out.by[n][h] = load_two(gates + 32 * n + 8 * h * Row::kStride);
      }
    }
    return out;
  }
  /// The last stage: emit(n, h, four) gets columns 4 t .. 4 t + 3 of row g + 8 h of the n-th n2.
  template <class Emit>
  __device__ __forceinline__ void leave(const Leaving& out, const Emit& emit) const {
#pragma unroll
    for (int n = 0; n < kShare; ++n) {
      float c[2][4] = {};
      outer_products_back(c, leave_[n], out.q[n]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if constexpr (kGateOut) {
          const uint32_t by[2] = {multiply_bf16(out.by[n][h].x, out.scale[h]),
                                  multiply_bf16(out.by[n][h].y, out.scale[h])};
          emit(n, h,
               uint2{pack_pair(c[0][2 * h] * low_of(by[0]), c[0][2 * h + 1] * high_of(by[0])),
                     pack_pair(c[1][2 * h] * low_of(by[1]), c[1][2 * h + 1] * high_of(by[1]))});
        } else {
          emit(n, h,
               uint2{multiply_bf16(pack_pair(c[0][2 * h], c[0][2 * h + 1]), out.scale[h]),
                     multiply_bf16(pack_pair(c[1][2 * h], c[1][2 * h + 1]), out.scale[h])});
        }
      }
    }
  }

  /// The exponent of the largest number in the 16 bytes at each of kShare pieces that this warp's lanes have copied.
  __device__ __forceinline__ static uint32_t exponent_of(uint32_t u, uint32_t gate_in) {
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < kShare; ++i) {
      const uint4 words = load_four(u + i * Row::kStride);
      uint32_t x[4] = {words.x, words.y, words.z, words.w};
      if constexpr (kGateIn) {
        const uint4 by = load_four(gate_in + i * Row::kStride);
        x[0] = multiply_bf16(x[0], by.x), x[1] = multiply_bf16(x[1], by.y);
        x[2] = multiply_bf16(x[2], by.z), x[3] = multiply_bf16(x[3], by.w);
      }
#pragma unroll
      for (uint32_t word : x) largest = __vmaxu2(largest, word & 0x7fff7fffu);  // a NaN is the largest
    }
    largest = __reduce_max_sync(0xffffffffu, __vmaxu2(largest, __byte_perm(largest, 0, 0x1032)));
    return min(max(largest >> 23, 16u), P == 1 ? 238u : uint32_t{kNotFinite});  // of bf16, and its scale must be one
  }

 private:
  __device__ __forceinline__ void scales(uint32_t step, const uint32_t (&pairs)[kOuterWarps / 2], uint32_t (&by)[4],
                                         bool announces) const {
    constexpr int kWordsOfRow = kOuterWarps / 2 / P;  // two warps' exponents to a word
#pragma unroll
    for (int row = 0; row < P; ++row) {
      uint32_t most = pairs[row * kWordsOfRow];
#pragma unroll
      for (int i = 1; i < kWordsOfRow; ++i) most = __vmaxu2(most, pairs[row * kWordsOfRow + i]);
      const uint32_t largest = max(most & 0xffffu, most >> 16);
#pragma unroll
      for (int i = row * 4 / P; i < (row + 1) * 4 / P; ++i) by[i] = (255 - largest) * 0x00800080u;
      if (announces && lane_ == row) {
        store_word(layout_.row_scale(step, row), P > 1 && largest == kNotFinite ? 0x7fffffffu : (largest - 1) << 23);
      }
    }
  }

  /// A lane's address in the tile of the n-th n2. Neighbours, the first even, differ in a bit.
  __device__ __forceinline__ uint32_t tile(uint32_t step, int n) const {
    return (layout_.planes(step) + as_tile_) ^ static_cast<uint32_t>(32 * n);
  }

  Layout layout_;
  int lane_;
  uint32_t pairs_, fours_, as_tile_;  // of a lane in a staged row and in planes
  ComplexTile enter_[kShare], leave_[kShare];
};

template <int P, bool kGateIn, bool kGateOut>
__global__ void __launch_bounds__(kThreads, 1) short_kernel(const __grid_constant__ ShortArgs args) {
#if __CUDA_ARCH__ >= 900
  using Layout = ShortLayout<P, kGateIn, kGateOut>;
  using Row = typename Layout::Row;
  using Place = StorePlace<1, P>;
  extern __shared__ __align__(1024) unsigned char memory[];
  const Layout layout{shared_address(memory)};
  const int lane = static_cast<int>(opaque(threadIdx.x % 32));
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);  // known to be the same in all of the warp
  if (threadIdx.x == 0) {
    for (uint32_t i = 0; i < kSlots; ++i) {
      layout.filled(i).init(32 * kOuterWarps), layout.entered(i).init(32 * kOuterWarps);
      layout.inverted(i).init(32 * kInnerWarps);
    }
  }
  const int64_t begin = args.steps * blockIdx.x / gridDim.x, end = args.steps * (blockIdx.x + 1) / gridDim.x;
  const uint32_t steps = static_cast<uint32_t>(end - begin);
  if (warp < kInnerWarps) {
    const InnerStages<P> stages(layout.planes(0), lane, warp);
    __syncthreads();
    const bool scales = warp == 0 && lane < P;  // of results are this lane's to make
    int64_t d = begin / args.per_channel;
    int left = args.per_channel - static_cast<int>(begin % args.per_channel);  // steps of the channel
    for (uint32_t step = 0; step < steps; ++d, left = args.per_channel) {
      const ComplexTile filter = load_filter<1, P>(args.filters.values + d * (1024 / P), 0, lane, warp);
      const float filter_scale = args.filters.scale[d];
      const uint32_t end_of_channel = min(steps, step + left);
#pragma unroll 1
      for (; step < end_of_channel; ++step) {
        layout.entered(step).wait(step / kSlots);
        float scale = 0;
        if (scales) scale = __uint_as_float(load_word(layout.row_scale(step, lane)));
        stages.convolve(layout.planes(step), filter);
        if (scales) store_word(layout.scale(step, lane), pack_pair(scale * filter_scale, scale * filter_scale));
        layout.inverted(step).arrive();
      }
    }
  } else {
    const int outer = warp - kInnerWarps, first = kShare * outer;
    const OuterStages<P, kGateIn, kGateOut> stages(layout, lane, first);
    __syncthreads();
    // Where this lane reads and writes: which of P rows, and where in it.
    const int read_row = row_of<P>(first), written_row = Place::row(lane);
    const int read_at = Row::share(lane, first);
    const Place place(args.length, natural(first), lane);
    // Of steps among their channel's: the next that are copied, that leave.
    int input = static_cast<int>(begin % args.per_channel), gate = input, output = input;
    const auto last = [&](int index) { return index + 1 == args.per_channel; };
    const auto after = [&](int index) { return last(index) ? 0 : index + 1; };
    const auto pointer = [&](const Walk& walk, int row, int at) {
      return walk.rows.at(begin / args.per_channel, P * input + row) + at;
    };
    bfloat16 *u = pointer(args.u, read_row, read_at), *gate_in = pointer(args.gate_in, read_row, read_at);
    bfloat16* gate_out = pointer(args.gate_out, read_row, read_at);
    bfloat16* y = pointer(args.y, written_row, place.offset);
    const uint32_t own = first * Row::kStride + 16 * lane;  // of a staged row

    const auto copy_row = [&](uint32_t to, const bfloat16* from, int index, bool present) {
      present &= P == 1 || P * index + read_row < args.batches;
#pragma unroll
      for (int i = 0; i < kShare; ++i) {
        Row::copy_own(to + own + i * Row::kStride, from + 256 * i, args.length - read_at - 256 * i, present);
      }
    };
    // A step's rows, and gate_out of the one before it by kSlots. Beyond the last, zeros.
    const auto copy = [&](uint32_t step) {
      if (step > 0) {
        args.u.move(u, last(input));
        if constexpr (kGateIn) args.gate_in.move(gate_in, last(input));
        input = after(input);
      }
      copy_row(layout.row(Layout::kU, step), u, input, step < steps);
      if constexpr (kGateIn) copy_row(layout.row(Layout::kGateInAt, step), gate_in, input, step < steps);
      if (kGateOut && step >= kSlots) {
        if (step > kSlots) {
          args.gate_out.move(gate_out, last(gate));
          gate = after(gate);
        }
        copy_row(layout.row(Layout::kGateOutAt, step), gate_out, gate, step - kSlots < steps);
      }
      commit_copies();
    };
    // When the copies for a step are there and at most those for one more are on their way.
    const auto find_scale = [&](uint32_t step) {
      wait_for_copies<1>();
      const uint32_t exponent =
          stages.exponent_of(layout.row(Layout::kU, step) + own, layout.row(Layout::kGateInAt, step) + own);
      if (lane == 0) {
        asm volatile("st.shared.b16 [%0], %1;" ::"r"(layout.exponents(step) + 2 * outer),
                     "h"(static_cast<uint16_t>(exponent))
                     : "memory");
      }
    };

    copy(0), copy(1), copy(2), find_scale(0);
    layout.filled(0).arrive();
    // A turn is the last stage of one step, the first of another, the scale of the next and copies, all independent, so
    // that their latencies overlap. It is the same at both ends: there it works on steps that do not exist, of which
    // nothing is stored, and waits for steps before the first are over at once. When all have entered the step before,
    // they have left that before it by kSlots, and read all that the copies of this turn replace.
#pragma unroll 1
    for (uint32_t step = 0; step < steps + kSlots; ++step) {
      layout.filled(step).wait(step / kSlots);
      layout.entered(step - 1).wait((step - 1) / kSlots);
      layout.inverted(step).wait(step / kSlots - 1);
      const auto out = stages.load_leaving(step, P == 1 ? 0 : written_row);
      const auto in = stages.load_entering(step);
      const bool leaves = step >= kSlots;
      stages.leave(out, [&](int n, int h, uint2 four) {
        const int row = h * P / 2;
        if (leaves && (P == 1 || P * output + row + written_row < args.batches)) {
          place.put(y + row * args.y.rows.batch, 0, h, four, 16 * n);
        }
      });
      y = reinterpret_cast<bfloat16*>(reinterpret_cast<char*>(y) +
                                      (leaves ? last(output) ? args.y.wrap : args.y.step : 0));
      output = leaves ? after(output) : output;
      find_scale(step + 1);
      stages.enter(step, in, outer == 0);
      layout.entered(step).arrive();
      layout.filled(step + 1).arrive();
      copy(step + 3);
    }
  }
#endif
}

template <int P, bool kGateIn, bool kGateOut>
void launch(Stream& stream, const ShortArgs& args) {
  constexpr int kBytes = static_cast<int>(ShortLayout<P, kGateIn, kGateOut>::kBytes);
  const auto kernel = short_kernel<P, kGateIn, kGateOut>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int64_t blocks = std::min<int64_t>(args.steps, device_info().multiprocessors);
  kernel<<<static_cast<unsigned>(blocks), kThreads, kBytes, native(stream)>>>(args);
  launched("fft_conv_forward: fused");
}

template <int P>
void forward_of(Stream& stream, const FftConvForward& a) {
  const int64_t channels = a.u.size(0), batches = a.u.size(1);
  const auto values = stream.scratch<uint4>(channels * 1024 / P);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<1, 1, P>(stream, Filters::of(a), values, scale);
  const int64_t per_channel = ceil_div(batches, int64_t{P});
  const ShortArgs args{.u = Walk(a.u, P),
                       .gate_in = Walk(a.gate_in, P),
                       .gate_out = Walk(a.gate_out, P),
                       .y = Walk(a.y, P),
                       .filters = {values, scale},
                       .batches = static_cast<int>(batches),
                       .length = static_cast<int>(a.u.size(2)),
                       .per_channel = static_cast<int>(per_channel),
                       .steps = channels * per_channel};
  if (a.gate_in) {
    a.gate_out ? launch<P, true, true>(stream, args) : launch<P, true, false>(stream, args);
  } else {
    a.gate_out ? launch<P, false, true>(stream, args) : launch<P, false, false>(stream, args);
  }
}

}  // namespace

void forward_short(Stream& stream, const FftConvForward& args) {
  const int64_t length = args.u.size(2);
  if (length <= 1024) return forward_of<4>(stream, args);
  if (length <= 2048) return forward_of<2>(stream, args);
  forward_of<1>(stream, args);
}

}  // namespace mara::kernels::cuda::fused
