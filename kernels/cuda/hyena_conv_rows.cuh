#pragma once
// Short convolutions of staged rows, bf16 in and f32 out, for the fused Hyena operator.
//
// A tile, 16 columns of 16 pieces, is multiplied by the 16 x 16 matrix that has the taps on its diagonals, and the four
// columns beside it by one of 16 x 4: products on tensor cores, where sums of shifted numbers would take an instruction
// and more for every tap. bf16 numbers are taken as they are, taps as sums of two of bf16, within 2^-17: three
// products, 16, 16 and 8 deep, the last with both halves of the taps. No tap reaches the first of the four columns: it
// counts as 1 and the bias is its tap. What is added to z within a row is part of the bias, and before a row there is
// what it cancels with, as bf16.

#include "kernels/cuda/fft_conv_fused.cuh"

namespace mara::kernels::cuda {

/// c += a b, 8 deep: a holds columns 2 t and the next of rows g and g + 8, b the same rows of column g.
__device__ __forceinline__ void mma_short(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
}

/// The first two of load_transposed's four matrices.
__device__ __forceinline__ void load_transposed(uint32_t (&to)[2], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(to[0]), "=r"(to[1])
               : "r"(address)
               : "memory");
}

/// A lane's number by way of 16 bytes of shared memory for each thread, for the compiler would find it out anew, and
/// all that follows from it, wherever it is used.
__device__ __forceinline__ int kept_lane(uint32_t shared) {
  const uint32_t own = shared + 16 * threadIdx.x;
  uint32_t lane = threadIdx.x % 32;
  asm volatile("st.shared.b32 [%1], %0;\nld.volatile.shared.b32 %0, [%1];" : "+r"(lane) : "r"(own) : "memory");
  return static_cast<int>(lane);
}

/// z and the gradients of p in shared memory, read as matrices of eight pieces.
template <int R, int P>
using HyenaRow = StagedRow<R, P, 256, 16>;

/// A channel's short filter as operands. What columns 2 g + j of the results take of columns 2 t + 8 e and the next, as
/// pairs j + 2 e, depends on g - t alone; what they take of the columns beside is the same for all g that no tap
/// reaches.
struct TapOperands {
  uint4 high[11], low[11];  // of g - t + 3
  uint2 beside[3][4];  // of min(g, 2), backwards of max(g, 5) - 5, and t: what `high` is to them with t < 2, or `low`
  uint4 outside;       // bf16 of the eight columns before a row
};
static_assert(sizeof(TapOperands) == 29 * 16);

/// One warp's, forwards or, which is that of gradients, backwards.
template <int R, int P = 1, bool kBackwards = false>
class ShortConvolution {
  using Row = HyenaRow<R, P>;
  static constexpr int Q = 16 / P, kPiecesOfMatrix = Q < 8 ? Q : 8;

 public:
  /// n2 should be alike in a warp for the compiler, too: what it alone decides then takes no registers.
  __device__ __forceinline__ ShortConvolution(int n2, int lane) : columns_(32 * n2) {
    const int g = lane / 4, t = lane % 4, matrix = lane / 8, piece = lane % 8;
    enters_ = (piece + matrix / 2 * 8) * Row::kStride + matrix % 2 * 16;
    leaves_ = (piece + matrix % 2 * 8) * Row::kStride + matrix / 2 * 16;
    beside_ = g * Row::kStride + t % 2 * 4;
    const bool in_piece = kBackwards ? n2 < 15 : n2 > 0;
#pragma unroll
    for (int a = 0; a < R; ++a) {
      // From this piece to that before or after, by place, and the columns beside.
      const int before = a > 0 ? -16 : 16 * (R - 1) - 1, after = a + 1 < R ? 16 : 1 - 16 * (R - 1);
      const int place = 16 * a + (in_piece ? 0 : kBackwards ? after : before);
      const int column = kBackwards ? (in_piece ? 16 * n2 + 16 : 0) : (in_piece ? 16 * n2 : 256) - 4;
      beside_of_[a] = place * static_cast<int>(Row::kStride) + 2 * column;
    }
    taps_ = 16 * (g - t + 3);
    beside_taps_ = offsetof(TapOperands, beside) + 8 * (4 * (kBackwards ? max(g, 5) - 5 : min(g, 2)) + t);
    at_end_ = !in_piece && g % kPiecesOfMatrix == (kBackwards ? kPiecesOfMatrix - 1 : 0);
    keep_ = t % 2 == 0 ? 0xffff0000u : 0xffffffffu;
  }

  /// Tile a of the row at `base` + `row`: columns 2 g + j of pieces 2 t + i + 8 h in [h][2 j + i].
  __device__ __forceinline__ void enter(float (&x)[2][4], uint32_t base, uint32_t row, uint32_t taps, int a) const {
    uint32_t z[4], beside[2];
    load_matrices(z, enters_ + (base + columns_ + row + a * Row::kTile));
    load_beside(beside, base, row, taps, a);
    const Taps of = load(base + taps);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (float& sum : x[h]) sum = 0;
      mma(x[h], of.high, z[2 * h], z[2 * h + 1]);
      mma(x[h], of.low, z[2 * h], z[2 * h + 1]);
      mma_short(x[h], of.beside[0], of.beside[1], beside[h]);
    }
  }
  /// Columns 4 t + 2 i + j of pieces g + 8 h in [j][2 h + i].
  __device__ __forceinline__ void leave(float (&y)[2][4], uint32_t base, uint32_t row, uint32_t taps, int a) const {
    uint32_t z[4], beside[2];
    load_matrices(z, leaves_ + (base + columns_ + row + a * Row::kTile));
    load_beside(beside, base, row, taps, a);
    const Taps of = load(base + taps);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (float& sum : y[j]) sum = 0;
      mma(y[j], z, of.high[j], of.high[j + 2]);
      mma(y[j], z, of.low[j], of.low[j + 2]);
      mma_short(y[j], beside[0], beside[1], of.beside[j]);
    }
  }

 private:
  struct Taps {  // j + 2 e
    uint32_t high[4], low[4], beside[2];
  };

  /// Two of the columns beside, of pieces g + 8 h.
  __device__ __forceinline__ void load_beside(uint32_t (&to)[2], uint32_t base, uint32_t row, uint32_t taps,
                                              int a) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t at = beside_ + (base + static_cast<uint32_t>(beside_of_[a]) + row + 8 * h * Row::kStride);
      const bool may_end = kBackwards ? a == R - 1 && (h == 1 || P > 1) : a == 0 && (h == 0 || P > 1);
      if constexpr (kBackwards) {
        to[h] = 0;
        if (!may_end || !at_end_) to[h] = load_word(at);
      } else {
        const uint32_t outside = (beside_ & 4) + (base + taps + offsetof(TapOperands, outside) + 8);
        to[h] = load_word(may_end && at_end_ ? outside : at);
        to[h] = (to[h] & keep_) | (0x3f80u & ~keep_);
      }
    }
  }
  __device__ __forceinline__ Taps load(uint32_t at) const {
    const uint4 high = load_four(at + taps_), low = load_four(at + taps_ + offsetof(TapOperands, low));
    const uint2 beside = load_two(at + beside_taps_);
    return {{high.x, high.y, high.z, high.w}, {low.x, low.y, low.z, low.w}, {beside.x, beside.y}};
  }

  uint32_t columns_, taps_, beside_taps_, enters_, leaves_, beside_, keep_;
  int beside_of_[R];
  bool at_end_;
};

/// One warp's sums for the gradients of taps and biases, for each of the three parts, in shared memory. C[m, n] = sum
/// of z[8 q - 8 + m] dp[8 q + n] over all halves q of tiles holds the sum of lag n + 8 - m. No row m < 5 is of use to
/// that: for row 0 of z there are ones, for the sum of dp, and for row 1 ones where a row begins, for the sums of dp at
/// the first positions, which some lags do not reach.
template <int P>
class TapSums {
  using Row = HyenaRow<1, P>;
  static constexpr int Q = 16 / P;

 public:
  static constexpr uint32_t kBytes = 512 * 16;

  __device__ __forceinline__ TapSums(uint32_t shared, int n2, int lane, int warp)
      : sums_(shared + (32 * warp + lane) * 16), columns_(32 * n2) {
    const int matrix = lane / 8, row = lane % 8, g = lane / 4, t = lane % 4;
    dp_ = (row + matrix % 2 * 8) * Row::kStride + matrix / 2 * 16;
    z_ = (row + matrix / 2 * 8) * Row::kStride + matrix % 2 * 16;  // of the eight columns before, or the first
    outside_ = n2 == 0 && matrix % 2 == 0;
    begins_ = outside_ && row % Q == 0 && (Q < 16 || matrix < 2);
    keep_ = g < 2 ? 0 : 0xffffffffu;
    always_ = g == 0 ? 0x3f803f80u : 0;
    first_[0] = g == 1 && n2 == 0 && 2 * t % Q == 0 ? 0x3f80u : always_;
    first_[1] = g == 1 && n2 == 0 && (2 * t + 8) % Q == 0 ? 0x3f80u : always_;
  }

  __device__ __forceinline__ void clear() const {
#pragma unroll
    for (int part = 0; part < 3; ++part) store_four(sums_ + part * kBytes, {0, 0, 0, 0});
  }
  /// Of rows at z and dp, `outside` being what is before a row.
  __device__ __forceinline__ void add(int part, uint32_t z, uint32_t outside, uint32_t dp) const {
    const uint4 sums = load_four(sums_ + part * kBytes);
    float c[4] = {__uint_as_float(sums.x), __uint_as_float(sums.y), __uint_as_float(sums.z), __uint_as_float(sums.w)};
    uint32_t a[4], b[4], second_half[2];
    load_transposed(b, dp_ + (dp + columns_));
    load_transposed(a, begins_ ? outside : z_ + (outside_ ? z + 512 - 16 - Row::kStride : z + columns_ - 16));
    a[0] = (a[0] & keep_) | first_[0], a[2] = (a[2] & keep_) | first_[1];
    mma(c, a, b[0], b[1]);
    const uint32_t first_half[2] = {(a[1] & keep_) | always_, (a[3] & keep_) | always_};
    load_transposed(second_half, dp_ + (z + columns_ + 16));
    const uint32_t shifted[4] = {first_half[0], second_half[0], first_half[1], second_half[1]};
    mma(c, shifted, b[2], b[3]);
    store_four(sums_ + part * kBytes,
               {__float_as_uint(c[0]), __float_as_uint(c[1]), __float_as_uint(c[2]), __float_as_uint(c[3])});
  }
  /// To 3 * 512 of them, this lane's at `to`.
  __device__ __forceinline__ void write(uint4* to) const {
#pragma unroll
    for (int part = 0; part < 3; ++part) to[512 * part] = load_four(sums_ + part * kBytes);
  }

 private:
  uint32_t sums_, columns_, dp_, z_, keep_, always_, first_[2];
  bool outside_, begins_;
};

/// Operands of all channels' short filters, and, if wanted, of the same backwards.
void make_tap_operands(Stream& stream, const View& weight, const View& bias, const View& input_bias,
                       TapOperands* operands, TapOperands* backwards = nullptr);

}  // namespace mara::kernels::cuda
