#pragma once
// Small dense complex matrices in f64, by LAPACK.

#include <complex>
#include <cstdint>
#include <vector>

namespace mara::nn {

/// Square, column-major.
struct ComplexMatrix {
  using Z = std::complex<double>;
  int64_t size = 0;
  std::vector<Z> data;

  explicit ComplexMatrix(int64_t n) : size(n), data(static_cast<size_t>(n * n)) {}
  Z& operator()(int64_t row, int64_t column) { return data[static_cast<size_t>(column * size + row)]; }
  const Z& operator()(int64_t row, int64_t column) const { return data[static_cast<size_t>(column * size + row)]; }
};

ComplexMatrix product(const ComplexMatrix& a, const ComplexMatrix& b);
/// x of x a = b for rows x and b. Throws Error where a is singular.
std::vector<std::complex<double>> solve_row(ComplexMatrix a, std::vector<std::complex<double>> b);

struct Eigen {
  std::vector<double> values;  // ascending
  ComplexMatrix vectors;       // columns, of length 1
};
/// Of a Hermitian matrix.
Eigen eigen(ComplexMatrix hermitian);

}  // namespace mara::nn
