#pragma once
// Convolution of short rows by its definition: kLanes rows of one channel side by side, one vector for each time step,
// so that every multiplication is vertical, with a broadcast tap. Products are taken in squares of 4 inputs by 4
// outputs, whose 7 taps and 8 vectors stay in registers.

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/vector.h"

namespace mara::kernels::cpu {

template <class C>
class DirectConv {
 public:
  using V = Vec<C>;
  static constexpr int kWidth = kLanes<C>;

  /// Rows of `length`; taps act at lags in (-length, length), below 0 only if two_sided.
  DirectConv(int64_t length, bool two_sided)
      : length_(length), squares_((length + kSide - 1) / kSide), two_sided_(two_sided) {}

  /// The lags that h and dh must hold: whole squares.
  int64_t first_lag() const { return two_sided_ ? -squares_ * kSide : -kSide; }
  int64_t end_lag() const { return squares_ * kSide; }

  /// x[t] = value t of every row, from source(row, m): values m V .. m V + V - 1 of a row. All work spaces and taps
  /// hold steps up to a multiple of V, zero beyond the length.
  template <class Source>
  void read(V* x, const Source& source) const {
    for (int64_t m = 0; m * kWidth < length_; ++m) {
      V part[kWidth];
#pragma GCC unroll 16
      for (int row = 0; row < kWidth; ++row) part[row] = source(row, m);
      transpose<C>(part);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) x[m * kWidth + i] = part[i];
    }
  }
  /// Undoes read: sink(row, m, values).
  template <class Sink>
  void write(const V* x, const Sink& sink) const {
    for (int64_t m = 0; m * kWidth < length_; ++m) {
      V part[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) part[i] = x[m * kWidth + i];
      transpose<C>(part);
#pragma GCC unroll 16
      for (int row = 0; row < kWidth; ++row) sink(row, m, part[row]);
    }
  }

  /// y[l] = sum_t h[l - t] x[t], or with kTransposed sum_t h[t - l] x[t].
  template <bool kTransposed>
  void convolve(const C* h, const V* x, V* y) const {
    for (int64_t out = 0; out < squares_; ++out) {
      const int64_t first = two_sided_ || !kTransposed ? 0 : out;
      const int64_t end = two_sided_ || kTransposed ? squares_ : out + 1;
      V sum[kSide] = {};
      for (int64_t in = first; in < end; ++in) {
        const C* tap = h + (kTransposed ? in - out : out - in) * kSide;
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) {
          const V a = in_register(x[in * kSide + i]);
#pragma GCC unroll 4
          for (int o = 0; o < kSide; ++o) sum[o] += a * tap[kTransposed ? i - o : o - i];
        }
      }
#pragma GCC unroll 4
      for (int o = 0; o < kSide; ++o) y[out * kSide + o] = sum[o];
    }
  }

  /// dh[lag] += sum_t g[t] x[t - lag] for each lane; dh[0] is lag 0.
  void correlate(const V* g, const V* x, V* dh) const {
    for (int64_t shift = two_sided_ ? 1 - squares_ : 0; shift < squares_; ++shift) {
      V sum[2 * kSide - 1] = {};
      const int64_t end = std::min(squares_, squares_ - shift);
      for (int64_t in = std::max<int64_t>(0, -shift); in < end; ++in) {
        V a[kSide], b[kSide];
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) {
          a[i] = in_register(x[in * kSide + i]), b[i] = in_register(g[(in + shift) * kSide + i]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) {
#pragma GCC unroll 4
          for (int o = 0; o < kSide; ++o) sum[o - i + kSide - 1] += b[o] * a[i];
        }
      }
#pragma GCC unroll 7
      for (int i = 0; i < 2 * kSide - 1; ++i) dh[shift * kSide + i - (kSide - 1)] += sum[i];
    }
  }

 private:
  static constexpr int kSide = 4;

  int64_t length_, squares_;
  bool two_sided_;
};

}  // namespace mara::kernels::cpu
