#include "nn/complex_matrix.h"

#include "core/error.h"

// OpenBLAS by its Fortran names: LAPACK has no C header that every installation brings.
extern "C" {
using Z = std::complex<double>;
void zgemm_(const char* transpose_a, const char* transpose_b, const int* m, const int* n, const int* k, const Z* alpha,
            const Z* a, const int* lda, const Z* b, const int* ldb, const Z* beta, Z* c, const int* ldc);
void zgesv_(const int* n, const int* columns, Z* a, const int* lda, int* pivots, Z* b, const int* ldb, int* info);
void zheev_(const char* vectors, const char* triangle, const int* n, Z* a, const int* lda, double* values, Z* work,
            const int* work_size, double* real_work, int* info);
void openblas_set_num_threads(int threads);
}

namespace mara::nn {
namespace {

// As everywhere: work is cut outside, so that results do not depend on the number of threads.
void one_thread() {
  static const bool once = (openblas_set_num_threads(1), true);
  static_cast<void>(once);
}

}  // namespace

ComplexMatrix product(const ComplexMatrix& a, const ComplexMatrix& b) {
  one_thread();
  ComplexMatrix c(a.size);
  const int n = static_cast<int>(a.size);
  const Z one = 1, zero = 0;
  zgemm_("N", "N", &n, &n, &n, &one, a.data.data(), &n, b.data.data(), &n, &zero, c.data.data(), &n);
  return c;
}

std::vector<Z> solve_row(ComplexMatrix a, std::vector<Z> b) {
  one_thread();
  const int n = static_cast<int>(a.size), one = 1;
  for (int64_t i = 0; i < a.size; ++i) {
    for (int64_t j = 0; j < i; ++j) std::swap(a(i, j), a(j, i));
  }
  std::vector<int> pivots(b.size());
  int info = 0;
  zgesv_(&n, &one, a.data.data(), &n, pivots.data(), b.data(), &n, &info);
  MARA_CHECK(info == 0, "solving a linear system: a regular matrix is required, pivot ", info, " of ", n, " is 0");
  return b;
}

Eigen eigen(ComplexMatrix hermitian) {
  one_thread();
  const int n = static_cast<int>(hermitian.size), work_size = 64 * n;
  Eigen out{std::vector<double>(static_cast<size_t>(n)), std::move(hermitian)};
  std::vector<Z> work(static_cast<size_t>(work_size));
  std::vector<double> real_work(static_cast<size_t>(3 * n));
  int info = 0;
  zheev_("V", "L", &n, out.vectors.data.data(), &n, out.values.data(), work.data(), &work_size, real_work.data(),
         &info);
  MARA_CHECK(info == 0, "eigenvalues of a Hermitian matrix of ", n, " rows: no convergence");
  return out;
}

}  // namespace mara::nn
