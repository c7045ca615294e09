#pragma once
// Views of matrices as the matmul kernel wants them: a batch, here of one.

#include <utility>

#include "core/view.h"

namespace mara::kernels {

/// (1, rows, columns), rows `row` elements apart.
inline View matrix(void* data, Dtype dtype, int64_t rows, int64_t columns, int64_t row) {
  return {data, dtype, {1, rows, columns}, {rows * row, row, 1}, true};
}

/// Rows [begin, begin + count) of a contiguous (rows, columns) of T.
template <class T>
View rows_of(const View& x, int64_t begin, int64_t count) {
  return matrix(x.ptr<T>() + begin * x.size(1), x.dtype, count, x.size(1), x.size(1));
}

/// The transpose of each matrix of a batch.
inline View transposed(View x) {
  std::swap(x.shape[1], x.shape[2]);
  std::swap(x.stride[1], x.stride[2]);
  return x;
}

}  // namespace mara::kernels
