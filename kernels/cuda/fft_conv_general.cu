// Long convolution of any length, through cuFFT and the right-angle transform.
//
// With w = exp(i pi / 2n) and n >= L, R(a)[k] = sum_l a[l] w^l exp(-2 pi i k l / n) evaluates the polynomial a at the n
// roots of x^n = i, so that products of transforms are products modulo x^n - i. A causal convolution of real rows
// wraps around into the imaginary part alone: y = Re R^-1(R(x) R(k)) costs complex transforms of n points where zero
// padding costs real ones of 2n. A lag below zero is x^-j = -i x^(n-j), hence two-sided kernels (bidirectional or
// circular, see Lags) go the same way, and so does their gradient, R^-1(sum_b R(g_b) conj R(x_b)). One row fills one
// transform: what is not finite stays in its row.
//
// Bound by memory: five passes over f32 complex rows, namely enter (gate, twist), transform, multiply, transform back,
// leave (untwist, gate). 64 bytes an element forward and 128 backward would cross device memory, so channels are taken
// in chunks whose rows stay in the L2 cache; five launches each. Work space is one chunk, or one channel where that is
// more: 16 / D of the size of u in bf16, 32 / D where cuFFT wants as much again.
//
// Rows of a chunk, n complex each: region 0 holds the filters' spectra, then their gradients, a row per channel;
// regions 1 and 2 a row per channel and batch row: backward G and X, forward X alone. All our kernels map to the grid
// alike: x is a tile of columns, two to a thread, which keeps their twiddles in registers; y strides over the batch;
// z is region and channel.

#include <algorithm>
#include <bit>

#include "kernels/cuda/channel_rows.cuh"
#include "kernels/cuda/fft_conv_general.h"
#include "kernels/cuda/fft_plan.h"

namespace mara::kernels::cuda::general {
namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;  // batch rows a thread has in flight
constexpr int kRowsPerThread = 16;

/// Two neighbours of a row of `length` from l on, or `absent` where they are outside or not `wanted`. With kPairs the
/// length is even.
template <bool kPairs, class T>
__device__ __forceinline__ float2 load_pair(const T* row, int64_t l, int64_t length, bool wanted, float absent = 0) {
  float v[2] = {absent, absent};
  if constexpr (kPairs) {
    if (wanted && l < length) load<2>(row + l, v);
  } else {
    if (wanted && l < length) v[0] = widen(row[l]);
    if (wanted && l + 1 < length) v[1] = widen(row[l + 1]);
  }
  return {v[0], v[1]};
}
template <bool kPairs, class T>
__device__ __forceinline__ void store_pair(T* row, int64_t l, int64_t length, float2 value) {
  if constexpr (kPairs) {
    const float v[2] = {value.x, value.y};
    if (l < length) store<2>(row + l, v);
  } else {
    if (l < length) row[l] = narrow_to<T>(value.x);
    if (l + 1 < length) row[l + 1] = narrow_to<T>(value.y);
  }
}

/// w^l and its successor, of rows of n points.
struct Twist {
  float2 w[2];

  __device__ Twist(int64_t l, int64_t n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sincospif(static_cast<float>(l + i) / static_cast<float>(2 * n), &w[i].y, &w[i].x);
    }
  }
};

// Written out, so that every instance of a kernel contracts in the same way and gives the same bits.
__device__ __forceinline__ float2 mul(float2 a, float2 b) {
  return {fmaf(a.x, b.x, -(a.y * b.y)), fmaf(a.x, b.y, a.y * b.x)};
}
__device__ __forceinline__ float2 mul_conj(float2 a, float2 b) {  // a conj b
  return {fmaf(a.x, b.x, a.y * b.y), fmaf(a.y, b.x, -(a.x * b.y))};
}

/// Two neighbours of a complex row, 16 bytes.
struct alignas(16) Pair {
  float2 v[2];
};
__device__ __forceinline__ Pair mul(const Pair& a, const Pair& b) {
  return {{mul(a.v[0], b.v[0]), mul(a.v[1], b.v[1])}};
}
__device__ __forceinline__ Pair mul_conj(const Pair& a, const Pair& b) {
  return {{mul_conj(a.v[0], b.v[0]), mul_conj(a.v[1], b.v[1])}};
}
__device__ __forceinline__ Pair operator+(const Pair& a, const Pair& b) {
  return {{{a.v[0].x + b.v[0].x, a.v[0].y + b.v[0].y}, {a.v[1].x + b.v[1].x, a.v[1].y + b.v[1].y}}};
}

/// One chunk: `channels` from `first` on of rows of `length`, transformed with n = 2 pairs points.
struct Chunk {
  Pair* data;
  int64_t first, length;
  int channels, batches, pairs;

  __host__ __device__ int64_t n() const { return 2 * static_cast<int64_t>(pairs); }
  /// Rows before a region.
  __host__ __device__ int64_t row(int region) const {
    return region == 0 ? 0 : channels + static_cast<int64_t>(region - 1) * channels * batches;
  }
  __device__ Pair* filter(int channel) const { return data + static_cast<int64_t>(channel) * pairs; }
  __device__ Pair* batch(int region, int channel) const {
    return data + (row(region) + static_cast<int64_t>(channel) * batches) * pairs;
  }
};

/// k, k_reverse or skip, or a gradient of one: a few taps for each channel, which act at lags `direction` j.
struct Filter {
  float* data = nullptr;
  int64_t taps = 0, channel = 0, tap = 0;  // count, strides
  int direction = 1;
  bool accumulate = false;

  Filter(const View& view, int direction, bool accumulate = false) : direction(direction), accumulate(accumulate) {
    if (!view) return;
    data = view.ptr<float>(), channel = view.stride[0];
    taps = view.shape.rank == 1 ? 1 : view.size(1);  // the skip is one tap at lag 0
    tap = view.shape.rank == 1 ? 0 : view.stride[1];
  }
  __device__ float& at(int64_t d, int64_t j) const { return data[d * channel + j * tap]; }
};

/// The filters and the skip as one two-sided kernel, which serves every form: c[l] = sum_lag h[lag] x[l - lag] with
/// -L < lag < L; in a circle lags j and j - L are one.
struct Lags {
  Filter filters[3];
  int64_t length;
  bool circular;

  explicit Lags(const FftConvForward& a) : Lags(a, {Filter(a.k, 1), Filter(a.k_reverse, -1), Filter(a.skip, 1)}) {}
  explicit Lags(const FftConvBackward& a) : Lags(a, {Filter(a.k, 1), Filter(a.k_reverse, -1), Filter(a.skip, 1)}) {}
  static Lags of_gradients(const FftConvBackward& a) {
    return Lags(a, {Filter(a.dk, 1, a.accumulate_k), Filter(a.dk_reverse, -1, a.accumulate_k_reverse),
                    Filter(a.dskip, 1, a.accumulate_skip)});
  }
  bool any() const {
    return std::ranges::any_of(filters, [](const Filter& f) { return f.data != nullptr; });
  }

  /// h[lag] of channel d.
  __device__ float gather(int64_t d, int64_t lag) const {
    float sum = 0;
#pragma unroll
    for (const Filter& f : filters) {
      int64_t j = f.direction * lag;
      if (circular) {
        if (j < 0) j += length;
        for (; j < f.taps; j += length) sum += f.at(d, j);
      } else if (j >= 0 && j < f.taps) {
        sum += f.at(d, j);
      }
    }
    return sum;
  }

 private:
  template <class Args>
  Lags(const Args& a, const Filter (&all)[3])
      : filters{all[0], all[1], all[2]}, length(a.u.size(2)), circular(a.form == ConvForm::circular) {}
};

/// Rows times a factor, which may be absent.
template <class T>
struct Gated {
  ChannelRows<T> rows, factor;
};

/// Where a transform's result goes: times factor[i] into out[i], each of which may be absent.
template <class T>
struct Results {
  ChannelRows<T> out[2], factor[2];
};

// The filters into region 0, source[i] into region i + 1. The filters carry the 1 / n of the inverse.
template <class T, bool kPairs>
__global__ void __launch_bounds__(kThreads)
    enter(const __grid_constant__ Chunk chunk, const __grid_constant__ Lags lags,
          const __grid_constant__ Gated<T> first, const __grid_constant__ Gated<T> second) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= chunk.pairs) return;
  const int region = blockIdx.z / chunk.channels, channel = blockIdx.z % chunk.channels;
  const int64_t l = 2 * static_cast<int64_t>(column), d = chunk.first + channel;
  const Twist twist(l, chunk.n());
  if (region == 0) {
    if (blockIdx.y > 0 || threadIdx.y > 0) return;
    const float scale = 1.0f / static_cast<float>(chunk.n());
    Pair value;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t lag = l + i, beyond = lag - chunk.n();
      const float2 h{lag < chunk.length ? lags.gather(d, lag) * scale : 0.0f,
                     beyond > -chunk.length ? lags.gather(d, beyond) * -scale : 0.0f};
      value.v[i] = mul(h, twist.w[i]);
    }
    chunk.filter(channel)[column] = value;
    return;
  }
  const Gated<T> source = region == 1 ? first : second;
  Pair* const to = chunk.batch(region, channel) + column;
  const int step = gridDim.y * blockDim.y;
  for (int b0 = blockIdx.y * blockDim.y + threadIdx.y; b0 < chunk.batches; b0 += kUnroll * step) {
    float2 x[kUnroll], factor[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int b = b0 + i * step;
      const bool present = b < chunk.batches;
      x[i] = load_pair<kPairs>(source.rows.at(d, b), l, chunk.length, present);
      factor[i] =
          load_pair<kPairs>(source.factor.at(d, b), l, chunk.length, present && source.factor.data != nullptr, 1.0f);
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int b = b0 + i * step;
      const float re = x[i].x * factor[i].x, im = x[i].y * factor[i].y;
      if (b < chunk.batches) {
        to[static_cast<int64_t>(b) * chunk.pairs] = {
            {{re * twist.w[0].x, re * twist.w[0].y}, {im * twist.w[1].x, im * twist.w[1].y}}};
      }
    }
  }
}

// Region 1 times the filters' spectra.
__global__ void __launch_bounds__(kThreads) multiply(const __grid_constant__ Chunk chunk) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x, channel = blockIdx.z;
  if (column >= chunk.pairs) return;
  const Pair filter = chunk.filter(channel)[column];
  Pair* const rows = chunk.batch(1, channel) + column;
  const int step = gridDim.y * blockDim.y;
  for (int b0 = blockIdx.y * blockDim.y + threadIdx.y; b0 < chunk.batches; b0 += kUnroll * step) {
    Pair x[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      if (b0 + i * step < chunk.batches) x[i] = rows[static_cast<int64_t>(b0 + i * step) * chunk.pairs];
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      if (b0 + i * step < chunk.batches) rows[static_cast<int64_t>(b0 + i * step) * chunk.pairs] = mul(x[i], filter);
    }
  }
}

/// What a backward pass is asked for, by region: the filters' gradients from 0, dx from 1, c from 2.
struct Wanted {
  bool region[3];
};

// G becomes G conj S, X becomes X S, and the spectra S become sum_b G_b conj X_b: in order within a thread, then over
// the threads of a column. The grid has one block for each tile of columns and channel.
__global__ void __launch_bounds__(kThreads) multiply_backward(const __grid_constant__ Chunk chunk, Wanted wanted) {
  __shared__ Pair sums[kThreads];
  const int column = blockIdx.x * blockDim.x + threadIdx.x, channel = blockIdx.z;
  const bool inside = column < chunk.pairs;
  Pair* const filter_at = chunk.filter(channel) + column;
  Pair* const g_rows = chunk.batch(1, channel) + column;
  Pair* const x_rows = chunk.batch(2, channel) + column;
  const Pair filter = inside ? *filter_at : Pair{};
  Pair sum{};
  const int step = blockDim.y, end = inside ? chunk.batches : 0;
  for (int b0 = threadIdx.y; b0 < end; b0 += kUnroll * step) {
    Pair g[kUnroll], x[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int64_t at = static_cast<int64_t>(b0 + i * step) * chunk.pairs;
      g[i] = x[i] = Pair{};
      if (b0 + i * step < end) g[i] = g_rows[at], x[i] = x_rows[at];
    }
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int64_t at = static_cast<int64_t>(b0 + i * step) * chunk.pairs;
      sum = sum + mul_conj(g[i], x[i]);
      if (b0 + i * step < end) {
        if (wanted.region[1]) g_rows[at] = mul_conj(g[i], filter);
        if (wanted.region[2]) x_rows[at] = mul(x[i], filter);
      }
    }
  }
  if (!wanted.region[0]) return;
  sums[threadIdx.y * blockDim.x + threadIdx.x] = sum;
  __syncthreads();  // all have read the spectra, too
  if (!inside || threadIdx.y > 0) return;
  for (int y = 1; y < blockDim.y; ++y) sum = sum + sums[y * blockDim.x + threadIdx.x];
  *filter_at = sum;
}

/// dh[lag] from the inverse transform in region 0.
__device__ __forceinline__ float lag_gradient(const Chunk& chunk, int channel, int64_t lag) {
  const int64_t m = lag < 0 ? lag + chunk.n() : lag;
  const float2 z = chunk.filter(channel)[m / 2].v[m % 2], w = Twist(m, chunk.n()).w[0];
  const float2 untwisted = mul_conj(z, w);
  return (lag < 0 ? -untwisted.y : untwisted.x) / static_cast<float>(chunk.n());
}

// Region i + 1 into results[i], region 0 into the filters' gradients; from region `begin` on.
template <class T, bool kPairs>
__global__ void __launch_bounds__(kThreads)
    leave(const __grid_constant__ Chunk chunk, int begin, const __grid_constant__ Lags gradients,
          const __grid_constant__ Results<T> first, const __grid_constant__ Results<T> second) {
  const int region = begin + blockIdx.z / chunk.channels, channel = blockIdx.z % chunk.channels;
  const int64_t d = chunk.first + channel;
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  if (region == 0) {
    if (blockIdx.y > 0) return;
    const int64_t start = static_cast<int64_t>(column) * blockDim.y + threadIdx.y;
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x * blockDim.y;
#pragma unroll
    for (const Filter& f : gradients.filters) {
      for (int64_t j = start; j < f.taps; j += stride) {
        float sum = 0;
        if (gradients.circular) {
          const int64_t lag = j % chunk.length;
          sum = lag_gradient(chunk, channel, f.direction * lag);
          if (lag > 0) sum += lag_gradient(chunk, channel, f.direction * (lag - chunk.length));
        } else if (j < chunk.length) {
          sum = lag_gradient(chunk, channel, f.direction * j);
        }
        float& out = f.at(d, j);
        out = f.accumulate ? out + sum : sum;
      }
    }
    return;
  }
  const int64_t l = 2 * static_cast<int64_t>(column);
  if (l >= chunk.length) return;
  const Results<T> results = region == 1 ? first : second;
  const Twist twist(l, chunk.n());
  const Pair* const from = chunk.batch(region, channel) + column;
  const int step = gridDim.y * blockDim.y;
  for (int b0 = blockIdx.y * blockDim.y + threadIdx.y; b0 < chunk.batches; b0 += kUnroll * step) {
    Pair z[kUnroll];
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      if (b0 + i * step < chunk.batches) z[i] = from[static_cast<int64_t>(b0 + i * step) * chunk.pairs];
    }
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const ChannelRows<T>&out = results.out[which], &by = results.factor[which];
      if (out.data == nullptr) continue;
      float2 factor[kUnroll];
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) {
        const int b = b0 + i * step;
        factor[i] = load_pair<kPairs>(by.at(d, b), l, chunk.length, b < chunk.batches && by.data != nullptr, 1.0f);
      }
#pragma unroll
      for (int i = 0; i < kUnroll; ++i) {
        const int b = b0 + i * step;
        if (b >= chunk.batches) continue;
        store_pair<kPairs>(
            out.at(d, b), l, chunk.length,
            {mul_conj(z[i].v[0], twist.w[0]).x * factor[i].x, mul_conj(z[i].v[1], twist.w[1]).x * factor[i].y});
      }
    }
  }
}

/// The smallest 8 * 2^a 3^b 5^c >= length: sizes cuFFT is fast at, with rows that start at multiples of 64 bytes.
int64_t transform_size(int64_t length) {
  for (int64_t eighth = ceil_div(length, 8);; ++eighth) {
    int64_t rest = eighth;
    for (int64_t prime : {2, 3, 5}) {
      while (rest % prime == 0) rest /= prime;
    }
    if (rest == 1) return 8 * eighth;
  }
}

constexpr int64_t kMaxGrid = 65535;  // in y and z

/// Channels that go into one chunk. Its rows take half of an H200's L2 cache, the other half is left to the tensors'
/// own; the same where the cache is smaller, for cuFFT's sums may depend on how many rows it transforms.
int64_t channels_per_chunk(const View& u, int64_t size, int data_regions) {
  constexpr int64_t kBytes = 30 << 20;
  const int64_t bytes = (1 + data_regions * u.size(1)) * size * static_cast<int64_t>(sizeof(float2));
  const int64_t fit = std::clamp<int64_t>(kBytes / bytes, 1, kMaxGrid / (1 + data_regions));
  const int64_t chunks = std::max<int64_t>(1, ceil_div(u.size(0), fit));
  return ceil_div(u.size(0), chunks);
}

/// Calls body(chunk) for all channels in turn.
template <class Body>
void for_each_chunk(Stream& stream, const View& u, int data_regions, const Body& body) {
  const int64_t size = transform_size(u.size(2)), per_chunk = channels_per_chunk(u, size, data_regions);
  const auto memory = stream.scratch<Pair>(per_chunk * (1 + data_regions * u.size(1)) * (size / 2));
  for (int64_t first = 0; first < u.size(0); first += per_chunk) {
    body(Chunk{memory, first, u.size(2), static_cast<int>(std::min(per_chunk, u.size(0) - first)),
               static_cast<int>(u.size(1)), static_cast<int>(size / 2)});
  }
}

/// Threads of a block: columns by batch rows.
dim3 block_for(const Chunk& chunk) {
  const unsigned rows = std::bit_floor(static_cast<unsigned>(std::clamp(chunk.batches / kUnroll, 1, 8)));
  return {std::min(kThreads / rows, std::bit_ceil(static_cast<unsigned>(chunk.pairs))), rows};
}
/// One block for each tile of columns and channel of `regions` regions, and for each slice of the batch.
dim3 tiles_of(const Chunk& chunk, int regions, bool sliced = true) {
  const dim3 block = block_for(chunk);
  const int64_t rows = block.y * kRowsPerThread, slices = ceil_div(chunk.batches, rows);
  return {ceil_div(static_cast<unsigned>(chunk.pairs), block.x),
          static_cast<unsigned>(sliced ? std::clamp<int64_t>(slices, 1, kMaxGrid) : 1),
          static_cast<unsigned>(regions * chunk.channels)};
}

/// Transforms the regions [begin, end).
void transform(Stream& stream, const Chunk& chunk, int begin, int end, FftPlan::Direction direction) {
  const int64_t rows = chunk.row(end) - chunk.row(begin);
  if (rows == 0) return;
  auto* const from = reinterpret_cast<cufftComplex*>(chunk.data + chunk.row(begin) * chunk.pairs);
  FftPlan::of(stream, chunk.n(), rows).run(stream, from, direction);
}

/// Calls f.template operator()<kPairs>(): whether all rows can be accessed in pairs.
template <class F, class... AllRows>
void with_pairs(int64_t length, const F& f, const AllRows&... rows) {
  length % 2 == 0 && (rows.takes(2) && ...) ? f.template operator()<true>() : f.template operator()<false>();
}

template <class T>
void forward_of(Stream& stream, const FftConvForward& a) {
  const Gated<T> x{ChannelRows<T>(a.u), ChannelRows<T>(a.gate_in)};
  const Results<T> y{{ChannelRows<T>(a.y), {}}, {ChannelRows<T>(a.gate_out), {}}};
  const Lags lags(a);
  const auto run = [&]<bool kPairs>() {
    for_each_chunk(stream, a.u, 1, [&](const Chunk& chunk) {
      const dim3 block = block_for(chunk);
      enter<T, kPairs><<<tiles_of(chunk, 2), block, 0, native(stream)>>>(chunk, lags, x, {});
      launched("fft_conv_forward: enter");
      transform(stream, chunk, 0, 2, FftPlan::Direction::forward);
      multiply<<<tiles_of(chunk, 1), block, 0, native(stream)>>>(chunk);
      launched("fft_conv_forward: multiply");
      transform(stream, chunk, 1, 2, FftPlan::Direction::inverse);
      leave<T, kPairs><<<tiles_of(chunk, 1), block, 0, native(stream)>>>(chunk, 1, lags, y, {});
      launched("fft_conv_forward: leave");
    });
  };
  with_pairs(a.u.size(2), run, x.rows, x.factor, y.out[0], y.factor[0]);
}

template <class T>
void backward_of(Stream& stream, const FftConvBackward& a) {
  const ChannelRows<T> dy(a.dy), u(a.u), gate_in(a.gate_in), gate_out(a.gate_out);
  const ChannelRows<T> du(a.du), dgate_in(a.dgate_in), dgate_out(a.dgate_out);
  const Gated<T> x{u, gate_in}, g{dy, gate_out};
  const Results<T> dx{{du, dgate_in}, {gate_in, u}}, c{{dgate_out, {}}, {dy, {}}};
  const Lags lags(a), gradients = Lags::of_gradients(a);
  const Wanted wanted{{gradients.any(), a.du || a.dgate_in, static_cast<bool>(a.dgate_out)}};
  int begin = 0, end = 3;  // regions that hold something wanted
  while (begin < 3 && !wanted.region[begin]) ++begin;
  while (end > begin && !wanted.region[end - 1]) --end;
  if (begin == end) return;
  const auto run = [&]<bool kPairs>() {
    for_each_chunk(stream, a.u, 2, [&](const Chunk& chunk) {
      const dim3 block = block_for(chunk);
      enter<T, kPairs><<<tiles_of(chunk, 3), block, 0, native(stream)>>>(chunk, lags, g, x);
      launched("fft_conv_backward: enter");
      transform(stream, chunk, 0, 3, FftPlan::Direction::forward);
      multiply_backward<<<tiles_of(chunk, 1, false), block, 0, native(stream)>>>(chunk, wanted);
      launched("fft_conv_backward: multiply");
      transform(stream, chunk, begin, end, FftPlan::Direction::inverse);
      leave<T, kPairs><<<tiles_of(chunk, end - begin), block, 0, native(stream)>>>(chunk, begin, gradients, dx, c);
      launched("fft_conv_backward: leave");
    });
  };
  with_pairs(a.u.size(2), run, dy, u, gate_in, gate_out, du, dgate_in, dgate_out);
}

}  // namespace

void forward(Stream& stream, const FftConvForward& a) {
  dispatch(a.u.dtype, [&]<class T>() { forward_of<T>(stream, a); });
}

void backward(Stream& stream, const FftConvBackward& a) {
  dispatch(a.u.dtype, [&]<class T>() { backward_of<T>(stream, a); });
}

}  // namespace mara::kernels::cuda::general
