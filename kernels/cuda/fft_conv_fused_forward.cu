// Fused long convolution forward: y = gate_out * conv(gate_in * u, k), one pass over the rows. See fft_conv_fused.cuh.
//
// Rows of one transform are a step's two by pairs of the batch; those of up to 4096 points go elsewhere
// (fft_conv_fused_forward_short.cu). A row of two (C = 2), x_0 and x_1 as the filter's k_0 and k_1, is both of a step.
// What wraps around is the imaginary part, so that with H_0 = R(k_0) and H_1 = R(k_1 - i k_0)
//   y_0 = Re R^-1(H_0 X_0),   y_1 = Re R^-1(H_0 X_1 + H_1 X_0).
// A filter of two sides has an H_(-1) = R(k_(-1) - i k_(-2)) as well, which brings X_1 to y_0.
// Rows of any length with a filter of up to one transform are walked by pairs of chunks (fft_conv_chunks.cuh).
//
// Bound by latency and instructions before device memory. One block of 16 warps per multiprocessor takes a contiguous
// range of steps in the order of channels, so that a filter's spectrum stays in registers (H_1 comes from the L2 cache
// every time). A row leaves just before the next one enters in its place, so that every wait for other warps has
// another row's stage before it. All warps copy the next step's rows, whole lines each: gate_out and with R = 1 all
// inputs have two buffers; with R = 2 there is one of u and gate_in, for all are past them halfway through a step.

#include <algorithm>

#include "kernels/cuda/fft_conv_chunks.cuh"
#include "kernels/cuda/fft_conv_filter.h"
#include "kernels/cuda/fft_conv_fused.h"

namespace mara::kernels::cuda::fused {
namespace {

/// What a step takes: two rows of a channel, a row of two transforms with a causal filter or any, or the next two
/// chunks of a row.
enum class Step { two_rows, causal_row, row, chunks };

constexpr int parts_of_row(Step step) { return step == Step::causal_row || step == Step::row ? 2 : 1; }

struct ForwardArgs {
  Walk u, gate_in, gate_out, y;
  FilterSpectra filters;
  int batches, length;
  int per_walk;   // steps of a channel, or with chunks of a row
  int64_t steps;  // of all
};

/// Shared memory: the transform's, then staged rows, of each tensor the two of a step.
template <int R, bool kGateIn, bool kGateOut>
struct ForwardLayout {
  static constexpr uint32_t kRow = StagedRow<R>::kBytes;
  static constexpr uint32_t kInputs = R == 1 ? 4 : 2;  // rows of u and of gate_in; the two of even steps, then of odd
  static constexpr uint32_t kU = RowTransform<R>::kBytes, kGateInAt = kU + kInputs * kRow;
  static constexpr uint32_t kGateOutAt = kGateInAt + kGateIn * kInputs * kRow;
  static constexpr uint32_t kBarriers = kGateOutAt + kGateOut * 4 * kRow, kBytes = kBarriers + 48;
};

template <int R, Step kStep, bool kGateIn, bool kGateOut>
__global__ void __launch_bounds__(512, 1) forward_kernel(const __grid_constant__ ForwardArgs args) {
#if __CUDA_ARCH__ >= 900
  using Layout = ForwardLayout<R, kGateIn, kGateOut>;
  using Row = StagedRow<R>;
  using Place = StorePlace<R>;
  constexpr int kPoints = 4096 * R, C = parts_of_row(kStep);
  constexpr int kZero = kStep == Step::row ? 1 : 0, kSpectra = C + kZero;  // place of H_0, spectra of a filter
  constexpr bool kChunks = kStep == Step::chunks;
  extern __shared__ __align__(1024) unsigned char memory[];
  const uint32_t shared = shared_address(memory), barriers = shared + Layout::kBarriers;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const SplitBarrier entered[2] = {{barriers}, {barriers + 8}}, inverted[2] = {{barriers + 16}, {barriers + 24}};
  const CopyBarrier filled{barriers + 32}, gates_filled{barriers + 40};
  if (threadIdx.x == 0) {
    for (int z = 0; z < 2; ++z) entered[z].init(512), inverted[z].init(512);
    filled.init(512), gates_filled.init(512);
  }
  const RowTransform<R> transform(shared, lane, warp);
  __syncthreads();

  const int64_t begin = args.steps * blockIdx.x / gridDim.x, end = args.steps * (blockIdx.x + 1) / gridDim.x;
  const auto input_row = [&](uint32_t turn, int z) { return (turn * 2 + z) % Layout::kInputs * Layout::kRow; };
  const auto gate_out_rows = [&](uint32_t turn, int z) {
    return shared + Layout::kGateOutAt + (turn % 2 * 2 + z) * Layout::kRow;
  };
  int index = static_cast<int>(begin % args.per_walk);  // of the step in its channel or row
  const bool repeats = kChunks && index > 0;            // the step before is another block's
  index -= repeats;
  int64_t d = begin / args.per_walk;
  int b = 0;  // with chunks
  if constexpr (kChunks) b = static_cast<int>(d % args.batches), d /= args.batches;
  // Where in a row this lane reads and writes.
  const int read_at = Row::share(lane, warp), written_at = Place(0, transform.n2(), lane).offset;
  const auto start = [&](const Walk& walk, int at) {
    if constexpr (kChunks) return walk.rows.at(d, b) + (2 * kPoints * static_cast<int64_t>(index) + at);
    return walk.rows.at(d, C == 1 ? 2 * index : index) + at;
  };
  bfloat16 *u = start(args.u, read_at), *gate_in = start(args.gate_in, read_at);
  bfloat16 *gate_out = start(args.gate_out, read_at), *y = start(args.y, written_at);
  const auto second = [](const Walk& walk) {  // from a step's first row
    return kStep == Step::two_rows ? walk.rows.batch : kPoints;
  };
  const auto length_at = [&](int index, int z) {
    if constexpr (kStep == Step::two_rows) return args.length;
    return args.length - ((kChunks ? 2 * index : 0) + z) * kPoints;
  };
  const auto copy_row = [&](uint32_t to, const Walk& walk, const bfloat16* first, int index, int z) {
    const bool present = kStep != Step::two_rows || 2 * index + z < args.batches;
    Row::copy_own(to + warp * Row::kStride + 16 * lane, first + z * second(walk), length_at(index, z) - read_at,
                  present);
  };
  const auto copy_inputs = [&](uint32_t turn, int index) {
#pragma unroll
    for (int z = 0; z < 2; ++z) {
      copy_row(shared + Layout::kU + input_row(turn, z), args.u, u, index, z);
      if constexpr (kGateIn) copy_row(shared + Layout::kGateInAt + input_row(turn, z), args.gate_in, gate_in, index, z);
    }
    filled.arrive_with_copies();
  };
  const auto copy_gates = [&](uint32_t turn, int index) {
    if constexpr (kGateOut) {
      for (int z = 0; z < 2; ++z) copy_row(gate_out_rows(turn, z), args.gate_out, gate_out, index, z);
      gates_filled.arrive_with_copies();
    }
  };
  const auto move = [&](const Walk& walk, bfloat16*& row, int at, bool last) {
    if constexpr (kChunks) {
      const bool last_of_channel = b + 1 == args.batches;
      row = last ? walk.rows.at(d + last_of_channel, last_of_channel ? 0 : b + 1) + at : row + 2 * kPoints;
    } else {
      walk.move(row, last);
    }
  };
  const auto filter_part = [&](int part) { return args.filters.values + (d * kSpectra + kZero + part) * (1024 * R); };
  copy_inputs(0, index);
  copy_gates(0, index);
  ComplexTile filter[R];
  float filter_scale = 0;
  bool new_filter = true;
  ComplexTile before[R];  // with chunks: spectrum of the one before
  CarriedScale before_scale;
  const uint32_t turns = static_cast<uint32_t>(end - begin) + repeats;
  const auto enter = [&](uint32_t turn, int z) {
    if (z == 0) filled.wait(turn);
    transform.template enter<kGateIn>(z, shared + Layout::kU + input_row(turn, z),
                                      shared + Layout::kGateInAt + input_row(turn, z));
    entered[z].arrive();
  };
  enter(0, 0), enter(0, 1);
  for (uint32_t turn = 0; turn < turns; ++turn) {
    const bool last = index + 1 == args.per_walk;
    if (new_filter) {
#pragma unroll
      for (int i = 0; i < R; ++i) filter[i] = load_filter<R>(filter_part(0), i, lane, warp);
      filter_scale = args.filters.scale[d] * (1.0f / R);
    }
    new_filter = last && (!kChunks || b + 1 == args.batches);

    int exponent[2];
    float scale[2];
    const int next_index = last ? 0 : index + 1;
    const auto copy_next_inputs = [&] {
      if (turn + 1 == turns) return;
      move(args.u, u, read_at, last);
      if constexpr (kGateIn) move(args.gate_in, gate_in, read_at, last);
      copy_inputs(turn + 1, next_index);
    };
    const auto copy_next_gates = [&] {
      if constexpr (kGateOut) gates_filled.wait(turn);  // nobody arrives for the next before he has seen this one
      if (turn + 1 == turns) return;
      if constexpr (kGateOut) move(args.gate_out, gate_out, read_at, last);
      copy_gates(turn + 1, next_index);
    };
    if constexpr (C == 1) {
#pragma unroll
      for (int z = 0; z < 2; ++z) {
        entered[z].wait(turn);
        if (z == (R == 1 ? 0 : 1)) copy_next_inputs();
        if (z == 1) copy_next_gates();
        const int own = transform.common_scale(z);
        exponent[z] = own;
        if constexpr (kChunks) {
          if (z == 0 && (index == 0 || turn == 0)) {
            before_scale = {};
#pragma unroll
            for (int i = 0; i < R; ++i) before[i] = {};
          }
          exponent[z] = before_scale.common_with(own);
        }
        scale[z] = transform.scale_of(z, exponent[z]);
        const auto factors = transform.factors_to(exponent[z], z);
#pragma unroll
        for (int i = 0; i < R; ++i) {
          ComplexTile tile = rounded(transform.spectrum(z, i, factors));
          if constexpr (kChunks) {
            const ComplexTile wrapped = quarter_turned<false>(before[i]);
            before[i] = tile;
            tile = scaled_sum(wrapped, before_scale.factor_to(exponent[z]), tile);
          }
          multiply<false>(tile, filter[i]);
          transform.invert(z, i, tile);
        }
        if constexpr (kChunks) before_scale = {own, exponent[z]};
        inverted[z].arrive();
      }
    } else {
      entered[0].wait(turn), entered[1].wait(turn);
      copy_next_inputs(), copy_next_gates();
      exponent[0] = exponent[1] = transform.scale_of_both(0);
      scale[0] = scale[1] = power_of_two(exponent[0]);
      const auto first_factors = transform.factors_to(exponent[0], 0), factors = transform.factors_to(exponent[1], 1);
#pragma unroll
      for (int i = 0; i < R; ++i) {
        const ComplexTile wrapped = load_filter<R>(filter_part(1), i, lane, warp);
        const ComplexTile first = rounded(transform.spectrum(0, i, first_factors));
        ComplexTile tile = first, second;
        multiply<false>(tile, filter[i]);
        if constexpr (kStep == Step::row) {
          second = rounded(transform.spectrum(1, i, factors));
          multiply_add<false>(tile, second, load_filter<R>(filter_part(-1), i, lane, warp));
        }
        transform.invert(0, i, tile);
        if constexpr (kStep == Step::causal_row) second = rounded(transform.spectrum(1, i, factors));
        tile = second;
        multiply<false>(tile, filter[i]);
        multiply_add<false>(tile, first, wrapped);
        transform.invert(1, i, tile);
      }
      inverted[0].arrive(), inverted[1].arrive();
    }

    const Place place(length_at(index, 0), transform.n2(), lane);
#pragma unroll
    for (int z = 0; z < 2; ++z) {
      inverted[z].wait(turn);
      transform.leave(z, [&](int a, int h, const float(&c)[4]) {
        uint2 four;
        if constexpr (kGateOut) {
          four = scaled(c, scale[z] * filter_scale, load_two(gate_out_rows(turn, z) + transform.fours(a, h)));
        } else {
          four = scaled(c, scale[z] * filter_scale);
        }
        if constexpr (kStep == Step::two_rows) {
          if (2 * index + z < args.batches) place.put(y + z * args.y.rows.batch, a, h, four);
        } else if (turn > 0 || !repeats) {
          place.put(y, a, h, four, z * kPoints);
        }
      });
      if (turn + 1 < turns) enter(turn + 1, z);
    }
    move(args.y, y, written_at, last);
    index = last ? 0 : index + 1;
    if constexpr (kChunks) {
      const bool last_of_channel = last && b + 1 == args.batches;
      d += last_of_channel, b = last_of_channel ? 0 : b + last;
    } else {
      d += last;
    }
  }
#endif
}

template <int R, Step kStep, bool kGateIn, bool kGateOut>
void launch(Stream& stream, const ForwardArgs& args) {
  constexpr int kBytes = static_cast<int>(ForwardLayout<R, kGateIn, kGateOut>::kBytes);
  const auto kernel = forward_kernel<R, kStep, kGateIn, kGateOut>;
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  const int64_t blocks = std::min<int64_t>(args.steps, device_info().multiprocessors);
  kernel<<<static_cast<unsigned>(blocks), 512, kBytes, native(stream)>>>(args);
  launched("fft_conv_forward: fused");
}

template <int R, Step kStep>
void forward_of(Stream& stream, const FftConvForward& a) {
  constexpr int C = parts_of_row(kStep), kBatchesPerStep = kStep == Step::two_rows ? 2 : 1;
  const int64_t channels = a.u.size(0), batches = a.u.size(1), length = a.u.size(2);
  const Filters filters = Filters::of(a);
  const auto values = stream.scratch<uint4>(channels * filters.parts(C) * 1024 * R);
  const auto scale = stream.scratch<float>(channels);
  transform_filters<R, C>(stream, filters, values, scale);
  const int64_t per_walk = kStep == Step::chunks ? ceil_div(length, 2 * 4096 * R) : ceil_div(batches, kBatchesPerStep);
  const ForwardArgs args{.u = Walk(a.u, kBatchesPerStep),
                         .gate_in = Walk(a.gate_in, kBatchesPerStep),
                         .gate_out = Walk(a.gate_out, kBatchesPerStep),
                         .y = Walk(a.y, kBatchesPerStep),
                         .filters = {values, scale},
                         .batches = static_cast<int>(batches),
                         .length = static_cast<int>(length),
                         .per_walk = static_cast<int>(per_walk),
                         .steps = channels * per_walk * (kStep == Step::chunks ? batches : 1)};
  if (a.gate_in) {
    a.gate_out ? launch<R, kStep, true, true>(stream, args) : launch<R, kStep, true, false>(stream, args);
  } else {
    a.gate_out ? launch<R, kStep, false, true>(stream, args) : launch<R, kStep, false, false>(stream, args);
  }
}

}  // namespace

void forward(Stream& stream, const FftConvForward& args) {
  const int64_t length = args.u.size(2);
  if (length <= 4096) return forward_short(stream, args);
  if (length <= 8192) return forward_of<2, Step::two_rows>(stream, args);
  const bool two_sided = Filters::of(args).two_sided();
  if (!two_sided && args.k.size(1) <= 4096) return forward_of<1, Step::chunks>(stream, args);
  if (!two_sided && args.k.size(1) <= 8192) return forward_of<2, Step::chunks>(stream, args);
  if (length > 16384) return forward_long(stream, args);
  two_sided ? forward_of<2, Step::row>(stream, args) : forward_of<2, Step::causal_row>(stream, args);
}

}  // namespace mara::kernels::cuda::fused
