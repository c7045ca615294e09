#pragma once
// Loops over contiguous elements that several CPU kernels share. `omp simd` states that element i of an output
// depends on element i of the inputs only, so that an output may be an input (in place) and still be vectorised.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "core/dtype.h"
#include "core/parallel.h"

namespace mara::kernels::cpu {

/// Elements per chunk where an element costs about a nanosecond: below it a second thread takes longer to start.
inline const int64_t kGrain = grain_for(1);

/// to = value, rounded to T. By member for bf16: GCC 12 vectorises no loop that assigns a struct.
template <class T, class C>
inline void put(T& to, C value) {
  if constexpr (std::is_same_v<T, bf16>) {
    to.bits = bf16(static_cast<float>(value)).bits;
  } else {
    to = static_cast<T>(value);
  }
}

/// The type in which values of several storage types meet.
template <class... T>
using Common = std::common_type_t<std::conditional_t<std::is_same_v<T, int32_t>, int32_t, Compute<T>>...>;

/// y = x, or y += x
template <class X, class Y>
void copy_row(const X* x, Y* y, int64_t n, bool accumulate = false) {
  using C = Common<X, Y>;
  if (accumulate) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) put(y[i], static_cast<C>(y[i]) + static_cast<C>(x[i]));
  } else if constexpr (std::is_same_v<X, Y>) {
    std::copy_n(x, n, y);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) put(y[i], static_cast<C>(x[i]));
  }
}

/// f(0) + ... + f(n - 1) in 32 interleaved sums, added up pairwise: a fixed order that has no chain of dependent
/// additions, and more accurate than one running sum.
template <class C, class F>
C sum_over(int64_t n, const F& f) {
  constexpr int kSums = 32;
  C sum[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
#pragma omp simd
    for (int j = 0; j < kSums; ++j) sum[j] += f(i + j);
  }
  for (int j = 0; i < n; ++i, ++j) sum[j] += f(i);
  for (int half = kSums / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sum[j] += sum[j + half];
  }
  return sum[0];
}

}  // namespace mara::kernels::cpu
