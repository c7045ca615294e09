// Long convolution in three phases: what happens between the outer transforms. See fft_conv_long.cuh.
//
// Bound by memory: 8 bytes an element of each region. A warp takes a k1 of a channel and all of its batch rows in turn,
// and meets no other warp: a row of 256 Q points is Q tiles in registers, from which it goes to its spectrum and back.
// So a filter's spectrum is read once, and sums for dk are added in the order of the batch by the one warp that has
// them, in shared memory.

#include "kernels/cuda/fft_conv_long.cuh"

namespace mara::kernels::cuda::long_rows {
namespace {

constexpr int kWarps = 8;
/// Warps forward, and how many of them share a k1 and its tables, each with some of the batch rows.
template <int Q>
constexpr int kForwardWarps = Q < 4 ? 8 : 4;
template <int Q>
constexpr int kTeam = Q < 4 ? 1 : 4;

/// A constant matrix as the left or the right operand: its registers, and those of -im.
struct Operand {
  uint32_t re[4], im[4], negative[4];

  __device__ __forceinline__ void load(uint32_t address) {
    const uint4 r = load_four(address), i = load_four(address + 512);
    re[0] = r.x, re[1] = r.y, re[2] = r.z, re[3] = r.w;
    im[0] = i.x, im[1] = i.y, im[2] = i.z, im[3] = i.w;
#pragma unroll
    for (int q = 0; q < 4; ++q) negative[q] = im[q] ^ 0x80008000u;
  }
};
/// f x^T, or conj(f) x^T.
template <bool kConj>
__device__ __forceinline__ ComplexSums product(const Operand& f, const ComplexTile& x) {
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], f.re, x.re[j], x.re[j + 2]);
    mma_half(sums.im[j], kConj ? f.negative : f.im, x.re[j], x.re[j + 2]);
    mma_half(sums.re[j], kConj ? f.im : f.negative, x.im[j], x.im[j + 2]);
    mma_half(sums.im[j], f.re, x.im[j], x.im[j + 2]);
  }
  return sums;
}
/// x f, or x conj(f); registers 2 j and 2 j + 1 of f are column half j.
template <bool kConj>
__device__ __forceinline__ ComplexSums product(const ComplexTile& x, const Operand& f) {
  const uint32_t(&plus)[4] = kConj ? f.negative : f.im;
  const uint32_t(&minus)[4] = kConj ? f.im : f.negative;
  ComplexSums sums{};
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    mma_half(sums.re[j], x.re, f.re[2 * j], f.re[2 * j + 1]);
    mma_half(sums.im[j], x.re, plus[2 * j], plus[2 * j + 1]);
    mma_half(sums.re[j], x.im, minus[2 * j], minus[2 * j + 1]);
    mma_half(sums.im[j], x.im, f.re[2 * j], f.re[2 * j + 1]);
  }
  return sums;
}

/// tile *= (re, im) of each column half.
template <bool kConj>
__device__ __forceinline__ void turn(ComplexTile& tile, const __half2 (&re)[2], const __half2 (&im)[2]) {
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    const __half2 x = as_half2(tile.re[q]), y = as_half2(tile.im[q]), c = re[q >> 1],
                  s = kConj ? __hneg2(im[q >> 1]) : im[q >> 1];
    tile.re[q] = as_word(__hfma2(__hneg2(y), s, __hmul2(x, c)));
    tile.im[q] = as_word(__hfma2(x, s, __hmul2(y, c)));
  }
}

/// The inner transform for one k1. F and the table between its uses are symmetric for each s, as in RowTransform:
/// shifted by sigma = (s + d) / Q.
template <int Q>
class InnerTransform {
 public:
  static constexpr uint32_t kOfS = 3072, kBytes = Q * kOfS;  // F as left operand, as right one, the table

  __device__ __forceinline__ InnerTransform(uint32_t shared, int lane, const Radices& radices, int r)
      : shared_(shared + lane * 16), lane_(lane) {
    d_ = (static_cast<float>(outer_frequency(radices.outer, r)) - 0.25f) / static_cast<float>(radices.rows());
  }

  /// Writes the tables of s to shared memory, for all who share it; they must meet before the next.
  __device__ __forceinline__ void prepare(int s) const {
    const float sigma = (static_cast<float>(s) + d_) / Q;
    const auto table = [&](float shift, float points, float size) {
      return make_tile(lane_, [&](int p, int q) {
        const float2 e = unit(-(natural(p) + shift) * (natural(q) + shift) / points);
        return float2{size * e.x, size * e.y};
      });
    };
    const ComplexTile f = table(sigma, 16, 0.25f), between = table(-15 * sigma, 256, 1);
    const auto store = [&](int which, const uint32_t(&x)[4], bool right) {
      store_four(shared_ + s * kOfS + which * 512, {x[0], x[right ? 2 : 1], x[right ? 1 : 2], x[3]});
    };
    store(0, f.re, false), store(1, f.im, false), store(2, f.re, true), store(3, f.im, true);
    store(4, between.re, false), store(5, between.im, false);
  }
  __device__ __forceinline__ void begin() {
    if constexpr (Q == 1) load_left(0), load_right(0);
  }

  /// Asks for a row, to be staged in Q KB of a warp's shared memory, and takes what was staged last. Pieces of lines
  /// are permuted so that four lines meet in no bank.
  __device__ __forceinline__ void fetch(uint32_t staged, const uint32_t* lines) const {
#pragma unroll
    for (int i = 0; i < 2 * Q; ++i) {
      const int line = 4 * i + lane_ / 8, piece = lane_ % 8;
      copy_async_16(staged + line * 128 + ((piece ^ (line & 6)) << 4), lines + line * 32 + piece * 4, true);
    }
    commit_copies();
  }
  __device__ __forceinline__ void take(ComplexTile (&x)[Q], uint32_t staged) const {
    const int g = lane_ / 4, line = 2 * (lane_ % 4);
    const uint32_t re_at = staged + line * 128 + (((g >> 1) ^ line) << 4) + (g & 1) * 8, im_at = re_at ^ 64;
#pragma unroll
    for (int a = 0; a < Q; ++a) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const uint2 re = load_two(re_at + a * 1024 + e * 128), im = load_two(im_at + a * 1024 + e * 128);
        x[a].re[2 * e] = re.x, x[a].re[2 * e + 1] = re.y;
        x[a].im[2 * e] = im.x, x[a].im[2 * e + 1] = im.y;
      }
    }
  }
  /// Line 8 a + 2 t + e has a lane's word pairs at 2 g.
  __device__ __forceinline__ void store(const ComplexTile (&x)[Q], uint32_t* lines) const {
#pragma unroll
    for (int a = 0; a < Q; ++a) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        uint32_t* const to = lines + place(a, e);
        *reinterpret_cast<uint2*>(to) = {x[a].re[2 * e], x[a].re[2 * e + 1]};
        *reinterpret_cast<uint2*>(to + 16) = {x[a].im[2 * e], x[a].im[2 * e + 1]};
      }
    }
  }

  /// Brings a row's lines, whose exponents are given to lanes, to one scale and parts it by s. Returns its exponent.
  __device__ __forceinline__ int part(ComplexTile (&x)[Q], int own) const {
    const int exponent = __reduce_max_sync(0xffffffffu, own);
#pragma unroll
    for (int a = 0; a < Q; ++a) {
      __half2 re[2], im[2];
      const float2 e = a > 0 ? phase(a) : float2{kSize, 0};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int line = __shfl_sync(0xffffffffu, own, 8 * a + 2 * (lane_ % 4) + half);
        const float scale = __uint_as_float(static_cast<uint32_t>(max(127 + line - exponent, 0)) << 23);
        re[half] = __float2half2_rn(e.x * scale), im[half] = __float2half2_rn(e.y * scale);
      }
      if (a > 0) {
        turn<false>(x[a], re, im);
      } else {
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          x[0].re[q] = multiply_pair(x[0].re[q], as_word(re[q >> 1]));
          x[0].im[q] = multiply_pair(x[0].im[q], as_word(re[q >> 1]));
        }
      }
    }
    combine<Q, false>(x);
    return exponent;
  }
  __device__ __forceinline__ void join(ComplexTile (&x)[Q]) const {
    combine<Q, true>(x);
#pragma unroll
    for (int a = Q == 4 ? 0 : 1; a < Q; ++a) {
      const float2 e = a > 0 ? phase(a) : float2{kSize, 0};
      const __half2 re[2] = {__float2half2_rn(e.x), __float2half2_rn(e.x)};
      const __half2 im[2] = {__float2half2_rn(e.y), __float2half2_rn(e.y)};
      turn<true>(x[a], re, im);
    }
  }

  /// The spectrum [k2, k3] of s, and the way back.
  __device__ __forceinline__ ComplexSums spectrum(const ComplexTile& x, int s) {
    if constexpr (Q > 1) load_left(s);
    ComplexTile tile = rounded(product<false>(left_, x));
    if constexpr (Q > 1) load_right(s);
    multiply<false>(tile, between_);
    return product<false>(tile, right_);
  }
  __device__ __forceinline__ ComplexTile inverse(const ComplexTile& x, int s) {
    if constexpr (Q > 1) load_left(s);
    ComplexTile tile = rounded(product<true>(left_, x));
    if constexpr (Q > 1) load_right(s);
    multiply<true>(tile, between_);
    return rounded(product<true>(tile, right_));
  }

 private:
  static constexpr float kSize = Q == 4 ? 0.5f : 1.0f;

  __device__ __forceinline__ int place(int a, int e) const {
    return (8 * a + 2 * (lane_ % 4) + e) * 32 + 2 * (lane_ / 4);
  }
  __device__ __forceinline__ float2 phase(int a) const {
    const float2 e = unit(-d_ * static_cast<float>(a) / Q);
    return {kSize * e.x, kSize * e.y};
  }
  __device__ __forceinline__ void load_left(int s) { left_.load(shared_ + s * kOfS); }
  __device__ __forceinline__ void load_right(int s) {
    right_.load(shared_ + s * kOfS + 1024);
    const uint4 re = load_four(shared_ + s * kOfS + 2048), im = load_four(shared_ + s * kOfS + 2560);
    between_ = {{re.x, re.y, re.z, re.w}, {im.x, im.y, im.z, im.w}};
  }

  uint32_t shared_;
  int lane_;
  float d_;
  Operand left_, right_;
  ComplexTile between_;
};

/// A tile of a filter's spectrum, brought to its channel's scale.
__device__ __forceinline__ ComplexTile load_tile(const uint4* tiles, int s, int lane, uint32_t factor) {
  ComplexTile tile;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const uint4 half = __ldg(tiles + (2 * s + h) * 32 + lane);
    tile.re[h] = multiply_pair(half.x, factor), tile.re[h + 2] = multiply_pair(half.y, factor);
    tile.im[h] = multiply_pair(half.z, factor), tile.im[h + 2] = multiply_pair(half.w, factor);
  }
  return tile;
}
__device__ __forceinline__ uint32_t filter_factor(const Spectra& spectra, const Radices& radices, int64_t d, int r) {
  const int below = spectra.largest[d] - spectra.exponents[d * radices.rows() + r];
  const float factor = __uint_as_float(static_cast<uint32_t>(max(127 - below, 0)) << 23);
  return as_word(__float2half2_rn(factor));
}

struct MultiplyArgs {
  Group group;
  Spectra spectra;
  GradientSums sums;
  bool dx, start;
};

template <int Q>
__global__ void __launch_bounds__(32 * kForwardWarps<Q>, Q == 2 ? 2 : 3)
    multiply_kernel(const __grid_constant__ MultiplyArgs args) {
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  constexpr int kItems = kForwardWarps<Q> / kTeam<Q>;  // of a block
  const Group& group = args.group;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n1 = group.radices.rows(), lines = group.radices.lines();
  const int64_t item = int64_t{blockIdx.x} * kItems + warp / kTeam<Q>;
  if (item >= int64_t{group.channels} * n1) return;
  const int r = static_cast<int>(item % n1), channel = static_cast<int>(item / n1), member = warp % kTeam<Q>;
  const int64_t d = group.first_channel + channel;
  InnerTransform<Q> transform(shared_address(memory) + warp / kTeam<Q> * InnerTransform<Q>::kBytes, lane, group.radices,
                              r);
  for (int s = member; s < Q; s += kTeam<Q>) transform.prepare(s);
  kTeam<Q> == 1 ? __syncwarp() : __syncthreads();
  transform.begin();
  wait_for_last();
  const uint4* const tiles = args.spectra.tiles(group.radices, d, r);
  const uint32_t factor = filter_factor(args.spectra, group.radices, d, r);
  ComplexTile only;
  if constexpr (Q == 1) only = load_tile(tiles, 0, lane, factor);
  const int end = (channel + 1) * group.batches;
  int row = channel * group.batches + member;
  if (row >= end) return;
  const uint32_t staged = shared_address(memory) + kItems * InnerTransform<Q>::kBytes + warp * (Q * 1024);
  transform.fetch(staged, group.line(row, r, 0));
  for (; row < end; row += kTeam<Q>) {
    ComplexTile x[Q];
    const int own = lane < lines ? group.exponents[row * lines + lane] : 0;
    wait_for_copies<0>();
    __syncwarp();
    transform.take(x, staged);
    __syncwarp();  // all have taken theirs
    if (row + kTeam<Q> < end) transform.fetch(staged, group.line(row + kTeam<Q>, r, 0));
    transform.part(x, own);
#pragma unroll
    for (int s = 0; s < Q; ++s) {
      ComplexTile tile = rounded(transform.spectrum(x[s], s));
      multiply<false>(tile, Q == 1 ? only : load_tile(tiles, s, lane, factor));
      x[s] = transform.inverse(tile, s);
    }
    transform.join(x);
    transform.store(x, group.line(row, r, 0));
  }
}

template <int Q, bool kC>
__global__ void __launch_bounds__(32 * kWarps, Q == 4 ? 1 : 2)
    multiply_backward_kernel(const __grid_constant__ MultiplyArgs args) {
  let_next_start();
  extern __shared__ __align__(1024) unsigned char memory[];
  const Group& group = args.group;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n1 = group.radices.rows(), lines = group.radices.lines();
  const int64_t item = int64_t{blockIdx.x} * kWarps + warp;
  if (item >= int64_t{group.channels} * n1) return;
  const int r = static_cast<int>(item % n1), channel = static_cast<int>(item / n1);
  const int64_t d = group.first_channel + channel;
  const uint32_t shared = shared_address(memory);
  InnerTransform<Q> transform(shared + warp * InnerTransform<Q>::kBytes, lane, group.radices, r);
#pragma unroll 1
  for (int s = 0; s < Q; ++s) transform.prepare(s);
  __syncwarp();
  transform.begin();
  const uint32_t sums = shared + kWarps * InnerTransform<Q>::kBytes + warp * (Q * 2048) + lane * 16;
  wait_for_last();
  const uint4* const tiles = args.spectra.tiles(group.radices, d, r);
  const uint32_t factor = filter_factor(args.spectra, group.radices, d, r);
  ComplexTile only;
  if constexpr (Q == 1) only = load_tile(tiles, 0, lane, factor);
  float4* const total = args.sums.values == nullptr ? nullptr : args.sums.tiles(group.radices, d, r) + lane;
  const auto as_words = [](float4 x) {
    return uint4{__float_as_uint(x.x), __float_as_uint(x.y), __float_as_uint(x.z), __float_as_uint(x.w)};
  };
  const auto as_floats = [](uint4 x) {
    return float4{__uint_as_float(x.x), __uint_as_float(x.y), __uint_as_float(x.z), __uint_as_float(x.w)};
  };
#pragma unroll
  for (int q = 0; q < 4 * Q; ++q) {
    store_four(sums + q * 512, args.start || total == nullptr ? uint4{} : as_words(total[q * 32]));
  }
  const uint32_t staged = shared + kWarps * (InnerTransform<Q>::kBytes + Q * 2048) + warp * (2 * Q * 1024);
  transform.fetch(staged, group.line(channel * group.batches, r, 0));
  transform.fetch(staged + Q * 1024, group.line(channel * group.batches + group.rows(), r, 0));
  for (int b = 0; b < group.batches; ++b) {
    const int g_row = channel * group.batches + b, x_row = g_row + group.rows();
    ComplexTile g[Q], x[Q];
    const int g_own = lane < lines ? group.exponents[g_row * lines + lane] : 0;
    const int x_own = lane < lines ? group.exponents[x_row * lines + lane] : 0;
    const bool more = b + 1 < group.batches;
    wait_for_copies<1>();
    __syncwarp();
    transform.take(g, staged);
    __syncwarp();
    more ? transform.fetch(staged, group.line(g_row + 1, r, 0)) : commit_copies();
    float scale = power_of_two(transform.part(g, g_own));
#pragma unroll
    for (int s = 0; s < Q; ++s) g[s] = rounded(transform.spectrum(g[s], s));
    wait_for_copies<1>();
    __syncwarp();
    transform.take(x, staged + Q * 1024);
    __syncwarp();
    more ? transform.fetch(staged + Q * 1024, group.line(x_row + 1, r, 0)) : commit_copies();
    scale *= power_of_two(transform.part(x, x_own));
#pragma unroll
    for (int s = 0; s < Q; ++s) {
      const ComplexSums spectrum = transform.spectrum(x[s], s);
      TileSum sum;
#pragma unroll
      for (int q = 0; q < 4; ++q) sum.q[q] = as_floats(load_four(sums + (4 * s + q) * 512));
      sum.add(spectrum, g[s], scale);
#pragma unroll
      for (int q = 0; q < 4; ++q) store_four(sums + (4 * s + q) * 512, as_words(sum.q[q]));
      const ComplexTile filter = Q == 1 ? only : load_tile(tiles, s, lane, factor);
      if constexpr (kC) {
        x[s] = rounded(spectrum);
        multiply<false>(x[s], filter);
        x[s] = transform.inverse(x[s], s);
      }
      multiply<true>(g[s], filter);
      g[s] = transform.inverse(g[s], s);
    }
    if constexpr (kC) {
      transform.join(x);
      transform.store(x, group.line(x_row, r, 0));
    }
    if (args.dx) {
      transform.join(g);
      transform.store(g, group.line(g_row, r, 0));
    }
  }
  if (total == nullptr) return;
#pragma unroll
  for (int q = 0; q < 4 * Q; ++q) total[q * 32] = as_floats(load_four(sums + q * 512));
}

unsigned blocks_for(const Group& group, int items) {
  return exact_grid(ceil_div(int64_t{group.channels} * group.radices.rows(), items));
}

}  // namespace

void multiply(Stream& stream, const Group& group, const Spectra& spectra) {
  const MultiplyArgs args{group, spectra, {}, true, true};
  with_radix(group.radices.inner, [&]<int Q>() {
    constexpr int kItems = kForwardWarps<Q> / kTeam<Q>;
    launch(stream, multiply_kernel<Q>, blocks_for(group, kItems), 32 * kForwardWarps<Q>,
           kItems * InnerTransform<Q>::kBytes + kForwardWarps<Q> * (Q * 1024), args);
  });
  launched("fft_conv_forward: multiply long rows");
}

void multiply_backward(Stream& stream, const Group& group, const Spectra& spectra, bool dx, bool c,
                       const GradientSums& sums, bool start) {
  const MultiplyArgs args{group, spectra, sums, dx, start};
  with_radix(group.radices.inner, [&]<int Q>() {
    constexpr size_t kBytes = kWarps * (InnerTransform<Q>::kBytes + Q * 4096);
    launch(stream, c ? multiply_backward_kernel<Q, true> : multiply_backward_kernel<Q, false>,
           blocks_for(group, kWarps), 32 * kWarps, kBytes, args);
  });
  launched("fft_conv_backward: multiply long rows");
}

}  // namespace mara::kernels::cuda::long_rows
