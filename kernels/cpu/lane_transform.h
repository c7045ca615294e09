#pragma once
// Real Fourier transforms of a row per lane, of a power of two T >= 2: as complex ones of n = T/2, whose bins stand in
// bit-reversed order, so that nothing is ever reordered. 5 T log2(T) / 2 operations per row.

#include <cmath>
#include <numbers>

#include "kernels/cpu/fft_transform.h"

namespace mara::kernels::cpu {

template <class C>
class LaneTransform {
 public:
  using V = Vec<C>;
  using Bins = Complex<V>*;  // n elements: x[2m] + i x[2m+1], or bin j at place(j); bin n travels apart

  static int64_t table_size(int64_t period) { return period / 2; }
  /// `table` is filled, and must live as long as this.
  LaneTransform(int64_t period, Complex<C>* table) : n_(period / 2), root_(table) {
    for (int64_t j = 0; j < n_; ++j) {
      const double angle = -2 * std::numbers::pi * static_cast<double>(j) / static_cast<double>(period);
      table[j] = {static_cast<C>(std::cos(angle)), static_cast<C>(std::sin(angle))};
    }
    while ((int64_t{1} << bits_) < n_) ++bits_;
  }

  int64_t place(int64_t j) const {
    uint64_t out = 0;
    for (int bit = 0; bit < bits_; ++bit) out |= (static_cast<uint64_t>(j) >> bit & 1) << (bits_ - 1 - bit);
    return static_cast<int64_t>(out);
  }

  /// X[j] = sum_l x[l] exp(-2 pi i j l / T), in place; returns X[n], which is real.
  V forward(Bins x) const {
    for (int64_t half = n_ / 2; half >= 1; half /= 2) {
      for_each_pair(half, [&](int64_t at, Complex<C> w) {
        const Complex<V> a = x[at], b = x[at + half];
        x[at] = a + b;
        x[at + half] = mul(a - b, w);
      });
    }
    const V last = x[0].re - x[0].im;
    x[0] = {x[0].re + x[0].im, V{}};
    for_each_mirror(x, [&](Complex<V>& a, Complex<V>& b, Complex<C> w) {
      const Complex<V> even{C(0.5) * (a.re + b.re), C(0.5) * (a.im - b.im)};
      const Complex<V> odd = mul(Complex<V>{C(0.5) * (a.im + b.im), C(0.5) * (b.re - a.re)}, w);
      a = even + odd;
      b = {even.re - odd.re, odd.im - even.im};
    });
    return last;
  }
  /// x[l] = sum_j X[j] exp(2 pi i j l / T) over all T bins, the others being conjugates of these; `last` is X[n].
  void inverse(Bins x, V last) const {
    x[0] = {x[0].re + last, x[0].re - last};
    for_each_mirror(x, [&](Complex<V>& a, Complex<V>& b, Complex<C> w) {
      const Complex<V> even{a.re + b.re, a.im - b.im};
      const Complex<V> odd = times_i(mul_conj(Complex<V>{a.re - b.re, a.im + b.im}, w));
      a = even + odd;
      b = {even.re - odd.re, odd.im - even.im};
    });
    for (int64_t half = 1; half <= n_ / 2; half *= 2) {
      for_each_pair(half, [&](int64_t at, Complex<C> w) {
        const Complex<V> a = x[at], b = mul_conj(x[at + half], w);
        x[at] = a + b;
        x[at + half] = a - b;
      });
    }
  }

 private:
  template <class Body>
  void for_each_pair(int64_t half, const Body& body) const {
    for (int64_t block = 0; block < n_; block += 2 * half) {
      for (int64_t i = 0; i < half; ++i) body(block + i, root_[i * (n_ / half)]);
    }
  }
  // Bins j and n - j, and the root of j; both are the same one at n / 2.
  template <class Body>
  void for_each_mirror(Bins x, const Body& body) const {
    for (int64_t j = 1; j <= n_ / 2 && j < n_; ++j) {
      body(x[place(j)], x[place(n_ - j)], root_[j]);
    }
  }
  int64_t n_;
  int bits_ = 0;
  const Complex<C>* root_;
};

}  // namespace mara::kernels::cpu
