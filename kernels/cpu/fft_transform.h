#pragma once
// Right-angle transform of real rows, for convolutions (R. Crandall, B. Fagin, "Discrete weighted transforms and
// large-integer arithmetic", 1994): the values of a polynomial of n real coefficients at the n roots of x^n = i.
// Products there are products modulo x^n - i, so for real a and h
//   z = R^-1(R(a) R(h)):   Re z[t] = (a h)[t],  Im z[t] = (a h)[t + n],
// a causal convolution by one complex transform of length n, without zero padding, and h[-j] at lag -j is -i h[-j] at
// index n - j, because 1/x^j = -i x^(n-j). Correlation is the product with conj R(h).
//
// A block of polynomials modulo y^N - e^(2 pi i theta) is split into r modulo y^(N/r) - e^(2 pi i (theta + s) / r),
// s = 0..r-1: multiply coefficient group q by e^(2 pi i q theta / r), then a transform of r points with constant
// coefficients. All butterflies of a block share their twiddles, the first block (theta = 1/4) starts from real data
// at half price, and nothing is ever reordered: the inverse walks the same tree upwards.
//
// A row of n = M V values (V lanes) is M vectors, y = x^V: the splits down to single vectors are vertical, with
// broadcast twiddles. What is left, one polynomial of degree V per vector, is transposed in squares of V vectors and
// split vertically again, now with a vector of twiddles. Rows shorter than V^2 share a square. The walk is depth
// first, so that a long row passes through the caches from large to small and back.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <numbers>
#include <span>
#include <vector>

#include "kernels/cpu/vector.h"

namespace mara::kernels::cpu {

template <class V>
struct Complex {
  V re, im;
};

template <class V, class W>
MARA_INLINE Complex<V> mul(Complex<V> a, Complex<W> w) {
  return {a.re * w.re - a.im * w.im, a.re * w.im + a.im * w.re};
}
template <class V, class W>
MARA_INLINE Complex<V> mul(V a, Complex<W> w) {
  return {a * w.re, a * w.im};
}
template <class V, class W>
MARA_INLINE Complex<V> mul_conj(Complex<V> a, Complex<W> w) {
  return {a.re * w.re + a.im * w.im, a.im * w.re - a.re * w.im};
}
template <class V>
MARA_INLINE Complex<V> operator+(Complex<V> a, Complex<V> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class V>
MARA_INLINE Complex<V> operator-(Complex<V> a, Complex<V> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class V>
MARA_INLINE Complex<V> times_i(Complex<V> a) {
  return {-a.im, a.re};
}
template <class V>
MARA_INLINE Complex<V> widen(Complex<V> a) {
  return a;
}
template <class V>
MARA_INLINE Complex<V> widen(V a) {
  return {a, V{}};
}

namespace detail {

// b[s] <- sum_q b[q] e^(+-2 pi i q s / r), + in the forward direction.
template <bool kInverse, class V>
MARA_INLINE void dft(Complex<V> (&)[1]) {}
template <bool kInverse, class V>
MARA_INLINE void dft(Complex<V> (&b)[2]) {
  const Complex<V> difference = b[0] - b[1];
  b[0] = b[0] + b[1];
  b[1] = difference;
}
template <bool kInverse, class V>
MARA_INLINE void dft(Complex<V> (&b)[3]) {
  using S = std::remove_cvref_t<decltype(b[0].re[0])>;
  constexpr S kSine = static_cast<S>(0.86602540378443864676);  // sin(2 pi / 3)
  const Complex<V> sum = b[1] + b[2], difference = b[1] - b[2];
  const Complex<V> middle{b[0].re - S(0.5) * sum.re, b[0].im - S(0.5) * sum.im};
  const Complex<V> turned{-kSine * difference.im, kSine * difference.re};
  b[0] = b[0] + sum;
  b[1] = kInverse ? middle - turned : middle + turned;
  b[2] = kInverse ? middle + turned : middle - turned;
}
template <bool kInverse, class V>
MARA_INLINE void dft(Complex<V> (&b)[4]) {
  const Complex<V> s0 = b[0] + b[2], s1 = b[0] - b[2], s2 = b[1] + b[3], s3 = b[1] - b[3];
  const Complex<V> up{s1.re - s3.im, s1.im + s3.re}, down{s1.re + s3.im, s1.im - s3.re};
  b[0] = s0 + s2;
  b[1] = kInverse ? down : up;
  b[2] = s0 - s2;
  b[3] = kInverse ? up : down;
}

// A radix A * B split is one by A, then one by B of each of the A children. Twiddles: of group q of the first w[q - 1],
// of group q of child s w[A - 1 + s (B - 1) + q - 1]. load(q) may be real.
template <int A, int B, class V, class Load, class W>
MARA_INLINE void split_first(const Load& load, const Complex<W>* w, Complex<V> (&x)[A * B]) {
#pragma GCC unroll 4
  for (int q = 0; q < B; ++q) {
    Complex<V> b[A];
    b[0] = widen(load(q));
#pragma GCC unroll 4
    for (int p = 1; p < A; ++p) b[p] = mul(load(p * B + q), w[p - 1]);
    dft<false>(b);
#pragma GCC unroll 4
    for (int s = 0; s < A; ++s) x[s * B + q] = b[s];
  }
}
template <int A, int B, class V, class W>
MARA_INLINE void split_child(int s, const Complex<V> (&x)[A * B], const Complex<W>* w, Complex<V> (&b)[B]) {
  b[0] = x[s * B];
#pragma GCC unroll 4
  for (int q = 1; q < B; ++q) b[q] = mul(x[s * B + q], w[A - 1 + s * (B - 1) + q - 1]);
  dft<false>(b);
}
template <int A, int B, class V, class W>
MARA_INLINE void join_child(int s, Complex<V> (&b)[B], const Complex<W>* w, Complex<V> (&x)[A * B]) {
  dft<true>(b);
  x[s * B] = b[0];
#pragma GCC unroll 4
  for (int q = 1; q < B; ++q) x[s * B + q] = mul_conj(b[q], w[A - 1 + s * (B - 1) + q - 1]);
}
template <int A, int B, bool kReal, class V, class W, class Store>
MARA_INLINE void join_first(const Complex<V> (&x)[A * B], const Complex<W>* w, const Store& store) {
#pragma GCC unroll 4
  for (int q = 0; q < B; ++q) {
    Complex<V> b[A];
#pragma GCC unroll 4
    for (int s = 0; s < A; ++s) b[s] = x[s * B + q];
    dft<true>(b);
    if constexpr (kReal) {
      store(q, b[0].re);
#pragma GCC unroll 4
      for (int p = 1; p < A; ++p) store(p * B + q, b[p].re * w[p - 1].re + b[p].im * w[p - 1].im);
    } else {
      store(q, b[0]);
#pragma GCC unroll 4
      for (int p = 1; p < A; ++p) store(p * B + q, mul_conj(b[p], w[p - 1]));
    }
  }
}

template <int A, int B, class V, class Load, class W, class Store>
MARA_INLINE void split(const Load& load, const Complex<W>* w, const Store& store) {
  Complex<V> x[A * B];
  split_first<A, B, V>(load, w, x);
#pragma GCC unroll 4
  for (int s = 0; s < A; ++s) {
    Complex<V> b[B];
    split_child<A, B, V>(s, x, w, b);
#pragma GCC unroll 4
    for (int t = 0; t < B; ++t) store(s * B + t, b[t]);
  }
}

// Undoes split, times A * B. With kReal, store gets real parts only.
template <int A, int B, bool kReal, class V, class Load, class W, class Store>
MARA_INLINE void join(const Load& load, const Complex<W>* w, const Store& store) {
  Complex<V> x[A * B];
#pragma GCC unroll 4
  for (int s = 0; s < A; ++s) {
    Complex<V> b[B];
#pragma GCC unroll 4
    for (int t = 0; t < B; ++t) b[t] = load(s * B + t);
    join_child<A, B, V>(s, b, w, x);
  }
  join_first<A, B, kReal, V>(x, w, store);
}

// Calls f.operator()<A, B>() with the two factors of a radix.
template <class F>
MARA_INLINE void with_factors(int radix, const F& f) {
  switch (radix) {
    case 1:
      return f.template operator()<1, 1>();
    case 2:
      return f.template operator()<2, 1>();
    case 3:
      return f.template operator()<3, 1>();
    case 4:
      return f.template operator()<4, 1>();
    case 8:
      return f.template operator()<4, 2>();
    default:
      return f.template operator()<4, 4>();
  }
}

}  // namespace detail

/// Tables and passes for rows of up to size() values, T = float or double.
template <class T>
class RightAngle {
 public:
  using V = Vec<T>;
  using Vectors = Complex<V>*;  // a work space of vectors() elements
  static constexpr int kWidth = kLanes<T>;

  /// The plan of the smallest size >= length, built on first use and kept.
  static const RightAngle& of(int64_t length) {
    int64_t size = std::max<int64_t>(kWidth, std::bit_ceil(static_cast<uint64_t>(length)));
    if (size / 4 * 3 >= std::max<int64_t>(length, 3 * kWidth * kWidth)) size = size / 4 * 3;
    static std::mutex mutex;
    static std::map<int64_t, std::unique_ptr<RightAngle>> plans;
    const std::lock_guard lock(mutex);
    auto& plan = plans[size];
    if (plan == nullptr) plan.reset(new RightAngle(size));
    return *plan;
  }

  int64_t size() const { return size_; }
  /// Rows transformed together; more than one only where they are short.
  int64_t rows() const { return rows_; }
  /// Elements of a work space: rows() * size() complex values.
  int64_t vectors() const { return rows_ * per_row_; }

  /// First split, from load(row, m): values m V .. m V + V - 1 of a row, real or Complex.
  template <class Load>
  void enter(Vectors x, const Load& load) const {
    const Pass& pass = passes_[0];
    detail::with_factors(pass.radix, [&]<int A, int B>() {
      const int64_t stride = per_row_ / (A * B);
      for (int64_t row = 0; row < rows_; ++row) {
        for (int64_t j = 0; j < stride; ++j) {
          detail::split<A, B, V>([&](int q) { return load(row, j + q * stride); }, pass.twiddles.data(),
                                 [&](int s, Complex<V> y) { x[row * per_row_ + j + s * stride] = y; });
        }
      }
    });
  }

  /// Undoes enter, times size(): store(row, m, real part) or, for kReal = false, store(row, m, Complex).
  template <bool kReal, class Store>
  void leave(const Complex<V>* x, const Store& store) const {
    const Pass& pass = passes_[0];
    detail::with_factors(pass.radix, [&]<int A, int B>() {
      const int64_t stride = per_row_ / (A * B);
      for (int64_t row = 0; row < rows_; ++row) {
        for (int64_t j = 0; j < stride; ++j) {
          detail::join<A, B, kReal, V>([&](int s) { return x[row * per_row_ + j + s * stride]; }, pass.twiddles.data(),
                                       [&](int q, auto value) { store(row, j + q * stride, value); });
        }
      }
    });
  }

  /// Between enter and leave: the other splits of every work space in `forward`, tile(t) for each square of vectors
  /// t V .. t V + V - 1, and the joins of every one in `inverse`.
  template <class Tile>
  void inner(std::initializer_list<Vectors> forward, std::initializer_list<Vectors> inverse, const Tile& tile) const {
    if (passes_.size() == 1) return tile(0);
    for (int block = 0; block < passes_[0].radix; ++block) {
      descend(1, block, {forward.begin(), forward.size()}, {inverse.begin(), inverse.size()}, tile);
    }
  }

  /// The twiddles of a square's lanes, in `local` or in the plan.
  struct LaneTwiddles {
    Complex<V> w[kWidth - 1];
  };
  const Complex<V>* lane_twiddles(int64_t tile, LaneTwiddles& local) const {
    if (tile_twiddles_.empty()) return lane_twiddles_.w;
    const Complex<T>* turn = tile_twiddles_.data() + tile * kTurns;
#pragma GCC unroll 16
    for (int i = 0; i < kWidth - 1; ++i) {
      local.w[i] = mul(lane_twiddles_.w[i], turn[i < kA - 1 ? i : kA - 1 + (i - (kA - 1)) % std::max(1, kB - 1)]);
    }
    return local.w;
  }

  /// Completes the transform of a square in place; vector s holds root s of each lane's polynomial afterwards.
  static void split_lanes(Vectors square, const Complex<V>* w) {
    Complex<V> x[kWidth];
    transpose_square(square, x);
    detail::split<kA, kB, V>([&](int q) { return x[q]; }, w, [&](int s, Complex<V> y) { square[s] = y; });
  }
  static void join_lanes(Vectors square, const Complex<V>* w) {
    Complex<V> x[kWidth];
    detail::join<kA, kB, false, V>([&](int s) { return square[s]; }, w, [&](int q, Complex<V> y) { x[q] = y; });
    transpose_square(x, square);
  }
  /// Both at once: root s of the square is replaced by change(s, root), in registers.
  template <class Change>
  MARA_INLINE static void through_lanes(Vectors square, const Complex<V>* w, const Change& change) {
    Complex<V> x[kWidth], y[kWidth];
    transpose_square(square, x);
    detail::split_first<kA, kB, V>([&](int q) { return x[q]; }, w, y);
#pragma GCC unroll 4
    for (int s = 0; s < kA; ++s) {
      Complex<V> b[kB];
      detail::split_child<kA, kB, V>(s, y, w, b);
#pragma GCC unroll 4
      for (int t = 0; t < kB; ++t) b[t] = change(s * kB + t, b[t]);
      detail::join_child<kA, kB, V>(s, b, w, y);
    }
    detail::join_first<kA, kB, false, V>(y, w, [&](int q, Complex<V> z) { x[q] = z; });
    transpose_square(x, square);
  }

 private:
  static constexpr int kA = 4, kB = kWidth / 4, kTurns = kA + kB - 2;  // factors of the split across lanes

  struct Pass {
    int radix;
    int64_t vectors;                   // in a block before the split
    std::vector<Complex<T>> twiddles;  // radix - 1 of each block
  };

  static Complex<T> root(double turns) {
    const double angle = 2 * std::numbers::pi * turns;
    return {static_cast<T>(std::cos(angle)), static_cast<T>(std::sin(angle))};
  }

  // Calls add(turns) for the twiddles of a block of this theta, in the order of split.
  template <class Add>
  static void for_each_twiddle(int a, int b, double theta, const Add& add) {
    for (int q = 1; q < a; ++q) add(q * theta / a);
    for (int s = 0; s < a; ++s) {
      for (int q = 1; q < b; ++q) add(q * (theta + s) / (a * b));
    }
  }
  static double child(int a, int b, double theta, int s) { return ((theta + s / b) / a + s % b) / b; }

  explicit RightAngle(int64_t size) : size_(size), per_row_(size / kWidth) {
    rows_ = std::max<int64_t>(1, kWidth / per_row_);
    std::vector<int> radices;
    int64_t outer = std::max<int64_t>(1, per_row_ / kWidth);
    if (outer % 3 == 0) radices.push_back(3), outer /= 3;
    for (; outer >= 32; outer /= 16) radices.push_back(16);
    if (outer > 1) radices.push_back(static_cast<int>(outer));
    radices.push_back(static_cast<int>(std::min<int64_t>(per_row_, kWidth)));

    std::vector<double> thetas{0.25};
    int64_t vectors = per_row_;
    for (int radix : radices) {
      Pass pass{radix, vectors, {}};
      std::vector<double> children;
      detail::with_factors(radix, [&]<int A, int B>() {
        for (double theta : thetas) {
          for_each_twiddle(A, B, theta, [&](double turns) { pass.twiddles.push_back(root(turns)); });
          for (int s = 0; s < radix; ++s) children.push_back(child(A, B, theta, s));
        }
      });
      passes_.push_back(std::move(pass));
      thetas = std::move(children);
      vectors /= radix;
    }
    build_lane_twiddles(thetas);
  }

  // Lane l of tile T holds a polynomial of theta = thetas[T V + l] = thetas[l] + (theta_T - theta_0) / V.
  void build_lane_twiddles(const std::vector<double>& thetas) {
    for (int lane = 0; lane < kWidth; ++lane) {
      int i = 0;
      for_each_twiddle(kA, kB, thetas[static_cast<size_t>(lane) % thetas.size()], [&](double turns) {
        const Complex<T> w = root(turns);
        lane_twiddles_.w[i].re[lane] = w.re;
        lane_twiddles_.w[i].im[lane] = w.im;
        ++i;
      });
    }
    const size_t tiles = thetas.size() / kWidth;
    for (size_t tile = 0; tiles > 1 && tile < tiles; ++tile) {
      const double turn = thetas[tile * kWidth] - thetas[0];
      for (int q = 1; q < kA; ++q) tile_twiddles_.push_back(root(q * turn / kA));
      for (int q = 1; q < kB; ++q) tile_twiddles_.push_back(root(q * turn / (kA * kB)));
    }
  }

  template <class Tile>
  void descend(size_t level, int64_t block, std::span<const Vectors> forward, std::span<const Vectors> inverse,
               const Tile& tile) const {
    const Pass& pass = passes_[level];
    const Complex<T>* w = pass.twiddles.data() + block * (pass.radix - 1);
    for (Vectors x : forward) split_block(pass, x + block * pass.vectors, w);
    if (level + 1 == passes_.size()) {
      tile(block);
    } else {
      for (int s = 0; s < pass.radix; ++s) descend(level + 1, block * pass.radix + s, forward, inverse, tile);
    }
    for (Vectors x : inverse) join_block(pass, x + block * pass.vectors, w);
  }

  static void split_block(const Pass& pass, Vectors x, const Complex<T>* w) {
    detail::with_factors(pass.radix, [&]<int A, int B>() {
      const int64_t stride = pass.vectors / (A * B);
      for (Vectors end = x + stride; x != end; ++x) {
        detail::split<A, B, V>([&](int q) { return x[q * stride]; }, w,
                               [&](int s, Complex<V> y) { x[s * stride] = y; });
      }
    });
  }
  static void join_block(const Pass& pass, Vectors x, const Complex<T>* w) {
    detail::with_factors(pass.radix, [&]<int A, int B>() {
      const int64_t stride = pass.vectors / (A * B);
      for (Vectors end = x + stride; x != end; ++x) {
        detail::join<A, B, false, V>([&](int s) { return x[s * stride]; }, w,
                                     [&](int q, Complex<V> y) { x[q * stride] = y; });
      }
    });
  }

  MARA_INLINE static void transpose_square(const Complex<V>* from, Complex<V>* to) {
    V part[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) part[i] = from[i].re;
    transpose<T>(part);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) to[i].re = part[i];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) part[i] = from[i].im;
    transpose<T>(part);
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) to[i].im = part[i];
  }

  int64_t size_, per_row_, rows_;
  std::vector<Pass> passes_;
  LaneTwiddles lane_twiddles_;
  std::vector<Complex<T>> tile_twiddles_;  // what tile T turns the lanes' twiddles by; empty for a single tile
};

}  // namespace mara::kernels::cpu
