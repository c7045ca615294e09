#pragma once
// What the Toeplitz convolutions have in common: how sequences are cut into rows of tiles, a tile of rows and the
// matrix of a channel in shared memory, the products of a block of columns, and the way of its accumulators to memory.
//
// y[t] = sum_s x[s] T[s][t] with T[s][t] = k[t - s]: a tile of 64 rows x is the one operand, T the other. An 8 x 8 core
// of T depends on the distance from the diagonal alone, so all of T is one run of L / 8 cores, 16 KB at L = 1024, which
// the products read at overlapping places. They run from a low address to a high one along both axes: along the
// contracted axis time would run backwards, so the groups of eight columns of a tile are stored last group first, or,
// where rows are copied as they are, the cores of T, and results come last group first.
//
// Numbers are fp16 with a power of two for each row and each filter, which puts the largest magnitude into
// [2^14, 2^15): with subnormals 39 binary digits below it are kept. Sums are f32.

#include "kernels/cuda/channel_rows.cuh"
#include "kernels/cuda/fft_conv_toeplitz.h"
#include "kernels/cuda/wgmma.cuh"

namespace mara::kernels::cuda::toeplitz {

constexpr int kRows = 64;                     // of a tile
constexpr int kBlock = 128;                   // columns of one block of products
constexpr int kLongest = 1024;                // sequence that is one row
constexpr int kMostTaps = 256;                // of a filter for sequences cut into pieces
constexpr int kPiece = 256;                   // outputs of a piece
constexpr int kGroupBytes = kRows * 16 + 16;  // eight columns of a tile; the 16 bytes keep writers in different banks
constexpr int kCoreBytes = 128;
constexpr int kCoresAbove = 15;  // cores of zeros above the diagonal that the products reach
constexpr int kTapsAbove = 128;  // zeros before the taps that those cores are made of

/// How a sequence is cut. A row of a tile holds `halo` columns and then `outputs`, those that are computed. A short
/// sequence is one row; pieces of a long one begin with the end of the piece before, as much of it as the filter
/// reaches.
struct Plan {
  int length, batch, taps, halo, outputs, pieces;

  Plan(const View& u, const View& k)
      : length(static_cast<int>(u.size(2))),
        batch(static_cast<int>(u.size(1))),
        taps(static_cast<int>(std::min(k.size(1), u.size(2)))),
        halo(length <= kLongest ? 0 : ceil_div(taps - 1, 16) * 16),
        outputs(length <= kLongest ? length : kPiece),
        pieces(ceil_div(length, outputs)) {}

  __host__ __device__ int rows() const { return batch * pieces; }
  __host__ __device__ int columns() const { return halo + blocks() * kBlock; }
  __host__ __device__ int blocks() const { return ceil_div(outputs, kBlock); }
  /// From the diagonal on, as many as the products reach.
  __host__ __device__ int cores() const {
    return min((taps + 14) / 8, (halo + (blocks() - 1) * kBlock) / 8) + kBlock / 8;
  }
  __host__ __device__ int tile_bytes() const { return columns() / 8 * kGroupBytes; }
  __host__ __device__ int table_bytes() const { return (kCoresAbove + cores()) * kCoreBytes; }
  __host__ __device__ int tap_count() const { return kTapsAbove + 8 * cores(); }
  __host__ __device__ int shared_bytes() const { return table_bytes() + tile_bytes() + 4 * (tap_count() + kRows + 16); }

 private:
  __host__ __device__ static int min(int a, int b) { return a < b ? a : b; }
};

struct Shared {
  unsigned char *table, *tile;
  float* taps;
  int* exponents;    // of the rows
  uint32_t* maxima;  // of the warps

  __device__ Shared(unsigned char* from, const Plan& plan)
      : Shared(from, from + plan.table_bytes(), from + plan.table_bytes() + plan.tile_bytes(), plan) {}
  __device__ Shared(unsigned char* table, unsigned char* tile, unsigned char* others, const Plan& plan)
      : table(table),
        tile(tile),
        taps(reinterpret_cast<float*>(others)),
        exponents(reinterpret_cast<int*>(taps + plan.tap_count())),
        maxima(reinterpret_cast<uint32_t*>(exponents + kRows)) {}

  /// Columns [column, column + 8) of all rows.
  __device__ unsigned char* group(const Plan& plan, int column) const {
    return tile + (plan.columns() - 8 - column) / 8 * kGroupBytes;
  }
};

/// A filter with the skip as part of its first tap.
struct Taps {
  const float *k, *skip;
  int64_t channel, tap, skip_channel;

  Taps(const View& k, const View& skip)
      : k(k.ptr<float>()),
        skip(skip ? skip.ptr<float>() : nullptr),
        channel(k.stride[0]),
        tap(k.stride[1]),
        skip_channel(skip ? skip.stride[0] : 0) {}
  __device__ float at(int64_t d, int j) const {
    const float value = k[d * channel + j * tap];
    return j == 0 && skip != nullptr ? value + skip[d * skip_channel] : value;
  }
};

/// data times factor, which may be absent.
struct Product {
  ChannelRows<const bfloat16> data, factor;
};

/// Exponent of the largest of magnitudes given by its bits. What is below 2^-112 becomes zero, what is not finite
/// stays.
__device__ __forceinline__ int exponent_of(uint32_t magnitude) {
  return ::min(::max(static_cast<int>(magnitude >> 23), 15), 254);
}
__device__ __forceinline__ float power_of_two(int biased) { return __int_as_float(biased << 23); }
__device__ __forceinline__ float scale_down(int exponent) { return power_of_two(268 - exponent); }
__device__ __forceinline__ float scale_up(int exponent) { return power_of_two(exponent - 14); }

/// Eight 16-bit numbers in the opposite order.
__device__ __forceinline__ void reverse(uint32_t (&words)[4]) {
  const uint32_t w[4] = {words[0], words[1], words[2], words[3]};
#pragma unroll
  for (int i = 0; i < 4; ++i) words[i] = __byte_perm(w[3 - i], 0, 0x1032);
}
/// Transposes 4 x 4 words over the lanes of a quad.
__device__ __forceinline__ void transpose_quad(uint32_t (&w)[4], int lane) {
  const auto exchange = [&](uint32_t& a, uint32_t& b, int distance) {
    const bool upper = lane & distance;
    const uint32_t got = __shfl_xor_sync(0xffffffffu, upper ? a : b, distance);
    (upper ? a : b) = got;
  };
  exchange(w[0], w[1], 1), exchange(w[2], w[3], 1);
  exchange(w[0], w[2], 2), exchange(w[1], w[3], 2);
}
__device__ __forceinline__ void load_words(uint32_t (&to)[4], const void* from) {
  const uint4 v = *static_cast<const uint4*>(from);
  to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

/// Spelled so that the compiler sees which memory it is: a store to any memory is slower where that is shared.
__device__ __forceinline__ void store_eight(void* to, const uint32_t (&words)[4]) {
  *static_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}
/// Into device memory, where nobody waits for them.
__device__ __forceinline__ void stream_eight(bfloat16* to, const uint32_t (&words)[4]) {
  __stcs(reinterpret_cast<uint4*>(to), make_uint4(words[0], words[1], words[2], words[3]));
}

/// Announces the largest of this warp's magnitudes of taps.
__device__ __forceinline__ void announce_largest(const Shared& shared, uint32_t magnitude) {
  const uint32_t largest = __reduce_max_sync(0xffffffffu, magnitude);
  if (threadIdx.x % 32 == 0) shared.maxima[threadIdx.x / 32] = largest;
}
/// The matrix of the taps that are in shared memory, scaled; returns the exponent of its scale. When all warps have
/// announced their largest; ends without a barrier. kLastFirst: the cores in the opposite order.
template <int kThreads, bool kLastFirst = false>
__device__ __forceinline__ int build_cores(const Shared& shared, const Plan& plan) {
  uint32_t largest = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) largest = ::max(largest, shared.maxima[warp]);
  const int exponent = exponent_of(largest);
  const float scale = scale_down(exponent);
  // Row n of core f, of lags 8 f + n down to 8 f + n - 7.
  for (int i = threadIdx.x; i < (kCoresAbove + plan.cores()) * 8; i += kThreads) {
    const float* const last = shared.taps + i + kTapsAbove - 8 * kCoresAbove;
    uint32_t words[4];
#pragma unroll
    for (int w = 0; w < 4; ++w) words[w] = pack_halves(last[-2 * w] * scale, last[-2 * w - 1] * scale);
    const int core = kLastFirst ? kCoresAbove + plan.cores() - 1 - i / 8 : i / 8;
    store_eight(shared.table + kCoreBytes * core + 16 * (i % 8), words);
  }
  return exponent;
}
/// The same of channel d, whose taps are read first.
template <int kThreads>
__device__ __forceinline__ int build_table(const Shared& shared, const Plan& plan, const Taps& taps, int64_t d) {
  uint32_t largest = 0;
  for (int i = threadIdx.x; i < plan.tap_count(); i += kThreads) {
    const int lag = i - kTapsAbove;
    const float tap = lag >= 0 && lag < plan.taps ? taps.at(d, lag) : 0.0f;
    shared.taps[i] = tap;
    largest = ::max(largest, __float_as_uint(fabsf(tap)));
  }
  announce_largest(shared, largest);
  __syncthreads();
  return build_cores<kThreads>(shared, plan);
}

/// A row of a product on its way into a tile; a lane has every 32nd group of eight columns.
template <int kGroups>
struct Row {
  uint32_t data[kGroups][4], factor[kGroups][4];
  bool has_factor, reversed;

  /// Row r of all, none if beyond them. Reversed, time runs backwards from the end of what follows the piece, as far as
  /// the filter reaches.
  __device__ __forceinline__ void load(const Product& from, const Plan& plan, int64_t d, int r, bool backwards) {
    has_factor = from.factor.data != nullptr, reversed = backwards;
    const bool present = r < plan.rows();
    const int b = plan.pieces == 1 ? r : r / plan.pieces, first = (r - b * plan.pieces) * plan.outputs;
    const bfloat16* const row = from.data.at(d, b);
    const bfloat16* const factors = has_factor ? from.factor.at(d, b) : row;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const int column = 8 * (32 * i + static_cast<int>(threadIdx.x) % 32);
      const int t = reversed ? first + plan.outputs + plan.halo - 8 - column : first - plan.halo + column;
      const bool inside = present && column < plan.columns() && t >= 0 && t < plan.length;
#pragma unroll
      for (int w = 0; w < 4; ++w) data[i][w] = factor[i][w] = 0;
      if (inside) {
        load_words(data[i], row + t);
        if (has_factor) load_words(factor[i], factors + t);
      }
    }
  }
};

/// The products of a row, and their way into a tile.
template <int kGroups>
struct Numbers {
  float x[kGroups][8];
  bool reversed;

  __device__ __forceinline__ explicit Numbers(const Row<kGroups>& row) : reversed(row.reversed) {
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        x[i][2 * w] = low_of(row.data[i][w]), x[i][2 * w + 1] = high_of(row.data[i][w]);
        if (row.has_factor) x[i][2 * w] *= low_of(row.factor[i][w]), x[i][2 * w + 1] *= high_of(row.factor[i][w]);
      }
    }
  }
  __device__ __forceinline__ void store(const Shared& shared, const Plan& plan, int to) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    uint32_t largest = 0;
#pragma unroll
    for (int i = 0; i < 8 * kGroups; ++i) largest = ::max(largest, __float_as_uint(fabsf(x[i / 8][i % 8])));
    const int exponent = exponent_of(__reduce_max_sync(0xffffffffu, largest));
    const float scale = scale_down(exponent);
    if (lane == 0) shared.exponents[to] = exponent;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const int column = 8 * (32 * i + lane);
      if (column >= plan.columns()) continue;
      uint32_t words[4];
#pragma unroll
      for (int w = 0; w < 4; ++w) words[w] = pack_halves(x[i][2 * w] * scale, x[i][2 * w + 1] * scale);
      if (reversed) reverse(words);
      store_eight(shared.group(plan, column) + 16 * to, words);
    }
  }
};

/// Fills this warp's rows of a tile; load(row, r) starts to read row r, and has done so for the first.
template <int kWarps, int kGroups, class Load>
__device__ __forceinline__ void fill_tile(const Shared& shared, const Plan& plan, int warp, Row<kGroups>& row,
                                          const Load& load) {
#pragma unroll 1
  for (int r = warp; r < kRows; r += kWarps) {
    const Numbers<kGroups> numbers(row);
    if (r + kWarps < kRows) load(row, r + kWarps);
    numbers.store(shared, plan, r);
  }
}

/// Has the L2 cache fetch the filter of a channel, by all threads.
__device__ __forceinline__ void prefetch_taps(const Taps& taps, const Plan& plan, int64_t d) {
  const int first = 32 * static_cast<int>(threadIdx.x);
  if (first < plan.taps) asm volatile("prefetch.global.L2 [%0];" ::"l"(taps.k + d * taps.channel + first * taps.tap));
}

/// The first column that the filter reaches from block `block`, as a multiple of 16.
__device__ __forceinline__ int first_column(const Plan& plan, int block) {
  return ::max(plan.halo + block * kBlock - plan.taps + 1, 0) / 16 * 16;
}

/// c = the products of block `block` of the columns, all 64 rows, for this warpgroup: with its own columns, last first,
/// and those before it that the filter reaches. (Products with fewer columns above the diagonal would save 10 % at
/// L = 1024, but the compiler serialises products on parts of an accumulator.)
__device__ __forceinline__ void multiply_block(float (&c)[64], const Shared& shared, const Plan& plan, int block) {
  const int first = plan.halo + block * kBlock;
  uint64_t a = cores_at(shared_address(shared.group(plan, first + kBlock - 8)), kGroupBytes, kCoreBytes);
  uint64_t b = cores_at(shared_address(shared.table), kCoreBytes, kCoreBytes);
#pragma unroll
  for (float& sum : c) sum = 0;
  begin_products();
#pragma unroll 1
  for (int left = first + kBlock - first_column(plan, block); left > 0; left -= 16) {
    multiply_cores(c, a, b);
    a += 2 * kGroupBytes / 16, b += 2 * kCoreBytes / 16;
  }
  finish_products();
}

/// Where a lane's results of one row of a tile lie: eight columns in each quarter of a block.
struct Place {
  int b;  // batch row, negative where there is none

  __device__ __forceinline__ Place(const Plan& plan, int r, int block, bool reversed) : length_(plan.length) {
    const int piece = plan.pieces == 1 ? 0 : r % plan.pieces;
    const int column = block * kBlock + 8 * (static_cast<int>(threadIdx.x) % 4);
    b = r < plan.rows() ? (plan.pieces == 1 ? r : r / plan.pieces) : -1;
    first_ = piece * plan.outputs + (reversed ? plan.outputs - 8 - column : column);
    step_ = reversed ? -32 : 32;
    left_ = b < 0 ? 0 : plan.outputs - column;
  }
  __device__ __forceinline__ int time(int quarter) const { return first_ + quarter * step_; }
  __device__ __forceinline__ bool inside(int quarter) const { return 32 * quarter < left_ && time(quarter) < length_; }

 private:
  int length_, first_, step_, left_;
};

/// One quarter of a lane's accumulators of row g (half 0) or g + 8 (half 1), scaled: pairs 8 j + 2 t of 32 columns.
struct Quarter {
  float2 pair[4];

  __device__ __forceinline__ Quarter(const float (&c)[64], int half, int quarter, float scale, float filter_scale) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int at = 16 * quarter + 4 * j + 2 * half;
      pair[j] = {c[at] * scale * filter_scale, c[at + 1] * scale * filter_scale};
    }
  }
  /// Times a factor of eight neighbours in time as they lie in memory, if it is wanted: as eight neighbours.
  __device__ __forceinline__ void times(const uint32_t (&factor)[4], bool wanted, bool reversed,
                                        uint32_t (&result)[4]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (wanted) {
      uint32_t by[4] = {factor[0], factor[1], factor[2], factor[3]};
      if (reversed) reverse(by);
      transpose_quad(by, lane);
#pragma unroll
      for (int j = 0; j < 4; ++j) result[j] = pack_pair(pair[j].x * low_of(by[j]), pair[j].y * high_of(by[j]));
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) result[j] = pack_pair(pair[j].x, pair[j].y);
    }
    transpose_quad(result, lane);
    if (reversed) reverse(result);
  }
};

/// The block that warpgroup `group` of `groups` takes in its pass `pass`, longest first and alike in sum.
__device__ __forceinline__ int block_of(const Plan& plan, int pass, int group, int groups) {
  return plan.blocks() - 1 - (pass * groups + (pass % 2 == 0 ? group : groups - 1 - group));
}

/// Calls f.template operator()<kWarpgroups>(): what holds a tile of this plan.
template <class F>
void dispatch_warpgroups(const Plan& plan, F&& f) {
  plan.columns() <= 512 ? f.template operator()<2>() : f.template operator()<4>();
}

/// Blocks of a kernel with `Warpgroups` that strides over `items`.
template <int kWarpgroups, class Kernel, class... Args>
void launch(Stream& stream, const char* name, Kernel* kernel, int shared, int64_t items, const Args&... args) {
  MARA_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  const int64_t resident = device_info().multiprocessors * (4 / kWarpgroups);
  kernel<<<static_cast<unsigned>(std::min(items, resident)), 128 * kWarpgroups, shared, native(stream)>>>(args...);
  launched(name);
}

}  // namespace mara::kernels::cuda::toeplitz
