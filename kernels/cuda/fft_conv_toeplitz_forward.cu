// Forward Toeplitz convolution. Bound by the products, L + 128 operations an element at the rate of warpgroup products,
// and by memory, which are about even at L = 1024.
//
// A block of warps strides over tiles of 64 rows, tiles of one channel in turn. Where tiles are small, two blocks to a
// multiprocessor overlap the reading of one with the products of another. Without gates the next tile is read during
// the products of this one, for which shared memory suffices since raw numbers are made fp16 where they lie; with gates
// there would be two numbers for each place.

#include "kernels/cuda/complex_tile.cuh"
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

/// With one gate or both.
template <int kWarpgroups>
__global__ void __launch_bounds__(128 * kWarpgroups, 4 / kWarpgroups) gated_kernel(const __grid_constant__ Forward a) {
  constexpr int kThreads = 128 * kWarpgroups, kWarps = kThreads / 32, kGroups = kWarpgroups;
  extern __shared__ __align__(1024) unsigned char memory[];
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
    // The cache is too small for the rows of all multiprocessors.
    if (item + 1 < end && (item + 1) / a.tiles != d) prefetch_taps(a.taps, plan, d + 1);

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

/// Without gates, a tile is made of panels of 64 columns, 128 bytes of each row, whose 16-byte pieces are permuted as
/// warpgroup products know it. The first panels, at least those that blocks of a second pass reach, have two buffers,
/// for this tile and the next; the others, which follow, have one. They are free as soon as all products with them are
/// done, which is early, for they are the first.
constexpr int kPanelColumns = 64, kPanelBytes = kRows * 128;
template <int kWarpgroups>
struct PlainLayout {
  static constexpr int kPaired = kBlock * kWarpgroups;  // columns with two buffers
  /// memcheck takes the 128 x 16 numbers of a product as 4096 bytes in a row, where they are 17 cores that overlap.
  static constexpr int kSeenBytes = 4096 - 17 * kCoreBytes;
  int pair_bytes, table, others, bytes;  // of one of two buffers; places; of all

  __host__ __device__ explicit PlainLayout(const Plan& plan)
      : pair_bytes(panels(plan.columns() < kPaired ? plan.columns() : kPaired) * kPanelBytes),
        table(2 * pair_bytes + (plan.columns() > kPaired ? panels(plan.columns() - kPaired) : 0) * kPanelBytes),
        others(table + plan.table_bytes()),
        bytes(std::max(others + 4 * (plan.tap_count() + 2 * kRows + 16) + 16, others + kSeenBytes)) {}

 private:
  __host__ __device__ static int panels(int columns) { return (columns + kPanelColumns - 1) / kPanelColumns; }
};

/// A tile's place among the channels' tiles, and which of two buffers it has.
struct Item {
  int64_t d;
  int tile, odd;
};

/// Without gates. Each warp copies rows of its own, pieces to the very places where they are needed, and when they are
/// there makes them fp16 in place.
template <int kWarpgroups>
__global__ void __launch_bounds__(128 * kWarpgroups, 4 / kWarpgroups) plain_kernel(const __grid_constant__ Forward a) {
#if __CUDA_ARCH__ >= 900
  constexpr int kThreads = 128 * kWarpgroups, kWarps = kThreads / 32, kGroups = kWarpgroups;
  constexpr int kPaired = PlainLayout<kWarpgroups>::kPaired;
  extern __shared__ __align__(1024) unsigned char memory[];
  const Plan& plan = a.plan;
  const PlainLayout<kWarpgroups> layout(plan);
  const Shared shared(memory + layout.table, memory, memory + layout.others, plan);
  int* const other_exponents = reinterpret_cast<int*>(shared.maxima + 16);
  const SplitBarrier single_done{shared_address(other_exponents + kRows)};  // with the columns that have one buffer
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int warp = __shfl_sync(0xffffffffu, thread / 32, 0);  // known to be the same in all of the warp
  if (thread == 0) single_done.init(kThreads);
  __syncthreads();

  // From where panels are counted that have a column.
  const auto first_panel = [&](const Item& item, int column) {
    return column < kPaired ? item.odd * layout.pair_bytes : layout.pair_bytes;
  };
  // Eight columns of row r, which are this lane's in its i-th group of 256.
  const auto piece = [&](const Item& item, int i, int r) {
    return memory + first_panel(item, 256 * i) + (4 * i + lane / 8) * kPanelBytes + r * 128 + ((lane ^ warp) % 8) * 16;
  };
  const auto exponents = [&](const Item& item) { return item.odd ? other_exponents : shared.exponents; };
  const auto copy_rows = [&](const Item& item, int first_group, int end_group) {
#pragma unroll 1
    for (int r = warp; r < kRows; r += kWarps) {
      const int row = item.tile * kRows + r;
      const bool present = row < plan.rows();
      const int b = plan.pieces == 1 ? row : row / plan.pieces, first = (row - b * plan.pieces) * plan.outputs;
      const bfloat16* const from = a.x.data.at(item.d, present ? b : 0);
#pragma unroll
      for (int i = 0; i < kGroups; ++i) {
        if (i < first_group || i >= end_group) continue;
        const int column = 8 * (32 * i + lane), t = first - plan.halo + column;
        const bool inside = present && t >= 0 && t < plan.length;
        if (column < plan.columns()) copy_async_16(shared_address(piece(item, i, r)), from + (inside ? t : 0), inside);
      }
    }
  };
  const auto copy_paired = [&](const Item& item) { copy_rows(item, 0, kGroups / 2); };
  const auto copy_single = [&](const Item& item) { copy_rows(item, kGroups / 2, kGroups); };
  // The skip goes to the place of a zero that no core has.
  const auto copy_taps = [&](int64_t d) {
    for (int i = thread; i < plan.tap_count(); i += kThreads) {
      const int lag = i - kTapsAbove;
      const bool present = lag >= 0 && lag < plan.taps;
      const float* const from = a.taps.k + d * a.taps.channel;
      if (i > 0) copy_async_4(shared_address(shared.taps + i), from + (present ? lag * a.taps.tap : 0), present);
      if (lag == 0 && a.taps.skip != nullptr) {
        copy_async_4(shared_address(shared.taps), a.taps.skip + d * a.taps.skip_channel, true);
      }
    }
  };
  const auto finish_taps = [&] {
    uint32_t largest = 0;
    for (int i = thread; i < plan.tap_count(); i += kThreads) {
      if (i == 0) continue;
      if (i == kTapsAbove && a.taps.skip != nullptr) shared.taps[i] += shared.taps[0];
      largest = ::max(largest, __float_as_uint(fabsf(shared.taps[i])));
    }
    announce_largest(shared, largest);
  };
  const auto finish_rows = [&](const Item& item) {
    constexpr int kAtOnce = 2;
#pragma unroll 1
    for (int first = warp; first < kRows; first += kAtOnce * kWarps) {
      uint32_t words[kAtOnce][kGroups][4], largest[kAtOnce] = {};
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
        for (int i = 0; i < kGroups; ++i) {
#pragma unroll
          for (int w = 0; w < 4; ++w) words[j][i][w] = 0;
          if (8 * (32 * i + lane) < plan.columns()) load_words(words[j][i], piece(item, i, first + j * kWarps));
        }
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
        for (int i = 0; i < 4 * kGroups; ++i) largest[j] = __vmaxu2(largest[j], words[j][i / 4][i % 4] & 0x7fff7fffu);
        largest[j] = __reduce_max_sync(0xffffffffu, ::max(largest[j] & 0xffff0000u, largest[j] << 16));
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int r = first + j * kWarps, exponent = exponent_of(largest[j]);
        const uint32_t scale = static_cast<uint32_t>(268 - exponent) * 0x00800080u;
        if (lane == 0) exponents(item)[r] = exponent;
#pragma unroll
        for (int i = 0; i < kGroups; ++i) {
          if (8 * (32 * i + lane) >= plan.columns()) continue;
#pragma unroll
          for (int w = 0; w < 4; ++w) {
            const uint32_t scaled = multiply_bf16(words[j][i][w], scale);
            words[j][i][w] = pack_halves(low_of(scaled), high_of(scaled));
          }
          store_eight(piece(item, i, r), words[j][i]);
        }
      }
    }
  };

  const int64_t begin = a.items * blockIdx.x / gridDim.x, end = a.items * (blockIdx.x + 1) / gridDim.x;
  Item item{begin / a.tiles, static_cast<int>(begin % a.tiles), 0};
  copy_paired(item), copy_single(item), copy_taps(item.d);
  bool new_channel = true;
  int filter_exponent = 0;
  for (int64_t left = end - begin; left > 0; --left) {
    commit_copies(), wait_for_copies<0>();
    finish_rows(item);
    if (new_channel) finish_taps();
    fence_for_products();
    __syncthreads();  // all rows are there, and nobody multiplies with the tile before
    if (new_channel) {
      filter_exponent = build_cores<kThreads, true>(shared, plan);
      fence_for_products();
      __syncthreads();
    }
    const bool last = item.tile + 1 == a.tiles;
    const Item next{item.d + last, last ? 0 : item.tile + 1, item.odd ^ 1};
    new_channel = last;
    if (left > 1) {
      copy_paired(next);
      if (new_channel) copy_taps(next.d);
    }

#pragma unroll 1
    for (int pass = 0; pass < 2; ++pass) {
      const int block = block_of(plan, pass, warp / 4, kWarpgroups);
      const int first = plan.halo + block * kBlock, last = first + kBlock, reached = first_column(plan, block);
      float c[64];
#pragma unroll
      for (float& sum : c) sum = 0;
      const auto multiply = [&](int from, int to) {  // with the columns [from, to), which have as many buffers
        const int core = plan.cores() - 1 - (last - 8 - from) / 8;
        uint64_t b = cores_at(shared_address(shared.table) + kCoreBytes * core, kCoreBytes, kCoreBytes);
        const uint32_t panels = shared_address(memory) + first_panel(item, from);
        begin_products();
#pragma unroll 1
        for (uint32_t column = from; column < static_cast<uint32_t>(to); column += 16) {
          const uint32_t at = column / kPanelColumns * kPanelBytes + column % kPanelColumns * 2;
          multiply_cores(c, permuted_rows_at(panels + at), b);
          b += 2 * kCoreBytes / 16;
        }
        finish_products();
      };
      if (block >= 0 && last > kPaired) multiply(::max(reached, kPaired), last);
      if (pass == 0) single_done.arrive();
      if (block >= 0 && reached < kPaired) multiply(reached, ::min(last, kPaired));
      if (pass == 0) {
        single_done.wait(static_cast<uint32_t>(item.odd));
        if (left > 1) copy_single(next);
      }
      if (block < 0) continue;
      float sums[64];  // groups of eight columns come the last first
#pragma unroll
      for (int i = 0; i < 64; ++i) sums[i] = c[60 - i / 4 * 4 + i % 4];
      const int in_tile = warp % 4 * 16 + lane / 4;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Place place(plan, item.tile * kRows + in_tile + 8 * half, block, false);
        const float scale = scale_up(exponents(item)[in_tile + 8 * half]);
        bfloat16* const y = a.y.at(item.d, ::max(place.b, 0)) + place.time(0);
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          uint32_t result[4];
          Quarter(sums, half, q, scale, scale_up(filter_exponent)).times({}, false, false, result);
          if (place.inside(q)) stream_eight(y + 32 * q, result);
        }
      }
    }
    item = next;
  }
#endif
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
    const bool gated = a.gate_in || a.gate_out;
    launch<kWarpgroups>(stream, "fft_conv_forward: toeplitz",
                        gated ? gated_kernel<kWarpgroups> : plain_kernel<kWarpgroups>,
                        gated ? plan.shared_bytes() : PlainLayout<kWarpgroups>(plan).bytes, given.items, given);
  });
}

}  // namespace mara::kernels::cuda::toeplitz
