#pragma once
// OpenBLAS on one block: row-major, one thread. The kernels cut their work themselves, by shape, so that results do
// not depend on the number of threads.

#include <cblas.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "core/dtype.h"
#include "kernels/cpu/vector.h"

namespace mara::kernels::cpu {

/// A matrix as BLAS takes it: rows `ld` elements apart, read as it lies or transposed.
template <class C>
struct Block {
  const C* data;
  int64_t ld;
  bool transposed = false;
};

/// c (m, n; rows ldc apart) = alpha a b + beta c for a of (m, k) and b of (k, n) after transposition. With beta 0, c is
/// not read. OpenBLAS is fastest below 10^6 multiplications with b not transposed: it then needs no packed copies.
template <class C>
void gemm(int64_t m, int64_t n, int64_t k, C alpha, Block<C> a, Block<C> b, C beta, C* c, int64_t ldc) {
  static const bool once = (openblas_set_num_threads(1), true);
  static_cast<void>(once);
  const auto product = [] {
    if constexpr (std::is_same_v<C, double>) {
      return cblas_dgemm;
    } else {
      return cblas_sgemm;
    }
  }();
  const auto form = [](bool transposed) { return transposed ? CblasTrans : CblasNoTrans; };
  const auto size = [](int64_t value) { return static_cast<blasint>(value); };
  product(CblasRowMajor, form(a.transposed), form(b.transposed), size(m), size(n), size(k), alpha, a.data, size(a.ld),
          b.data, size(b.ld), beta, c, size(ldc));
}

/// n rounded up to whole vectors of any width. Rows of scores are filled up to it, with minus infinity, so that loops
/// over them need no scalar rest.
inline int64_t whole_vectors(int64_t n) { return (n + 15) & ~int64_t{15}; }

template <class C>
inline constexpr C kMinusInfinity = -std::numeric_limits<C>::infinity();

/// to (rows, columns) = from, widened.
template <class T, class C>
void widen(int64_t rows, int64_t columns, const T* from, int64_t from_ld, C* to, int64_t to_ld) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) to[i * to_ld + j] = static_cast<C>(from[i * from_ld + j]);
  }
}

/// to (columns, rows) = from^T, widened.
template <class T, class C>
void transpose(int64_t rows, int64_t columns, const T* from, int64_t from_ld, C* to, int64_t to_ld) {
  constexpr int64_t kSide = kLanes<C>;
  for (int64_t i = 0; i < rows; i += kSide) {
    for (int64_t j = 0; j < columns; j += kSide) {
      if (i + kSide <= rows && j + kSide <= columns) {
        Vec<C> square[kSide];
        for (int64_t r = 0; r < kSide; ++r) square[r] = load(from + (i + r) * from_ld + j);
        transpose<C>(square);
        for (int64_t r = 0; r < kSide; ++r) store(to + (j + r) * to_ld + i, square[r]);
        continue;
      }
      for (int64_t r = i; r < std::min(rows, i + kSide); ++r) {
        for (int64_t c = j; c < std::min(columns, j + kSide); ++c) {
          to[c * to_ld + r] = static_cast<C>(from[r * from_ld + c]);
        }
      }
    }
  }
}

}  // namespace mara::kernels::cpu
