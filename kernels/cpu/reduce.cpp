// Sums in a fixed tree: columns of a block of rows, then, by the same function, the sums of the blocks. Threads share
// the blocks, whose size depends on the shape alone; and the error grows with the logarithm of the length.

#include "kernels/cpu/rows.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

constexpr int64_t kColumns = 256;  // of accumulators at a time
constexpr int64_t kFewColumns = 64;
constexpr int64_t kRows = 128;  // of a block

struct Identity {
  template <class C>
  C operator()(C x) const {
    return x;
  }
};
struct Square {
  template <class C>
  C operator()(C x) const {
    return x * x;
  }
};

// sum[j] = sum over rows of map(x[row * stride + j]), j < columns <= kColumns. Four rows a pass: sum stays in L1, but
// would be loaded and stored for every element.
template <class C, class X, class Map>
void sum_columns(const X* x, int64_t rows, int64_t columns, int64_t stride, C* sum, const Map& map) {
  std::fill_n(sum, columns, C(0));
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const X *x0 = x + row * stride, *x1 = x0 + stride, *x2 = x1 + stride, *x3 = x2 + stride;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) {
      sum[j] += (map(static_cast<C>(x0[j])) + map(static_cast<C>(x1[j]))) +
                (map(static_cast<C>(x2[j])) + map(static_cast<C>(x3[j])));
    }
  }
  for (; row < rows; ++row) {
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) sum[j] += map(static_cast<C>(x[row * stride + j]));
  }
}

// The same for contiguous rows of few columns: several rows are read as one, whose parts are added up at the end.
template <class C, class X, class Map>
void sum_short_rows(const X* x, int64_t rows, int64_t columns, C* sum, const Map& map) {
  int64_t joined = 1;
  while (2 * joined * columns <= kColumns && 4 * joined <= rows) joined *= 2;
  sum_columns(x, rows / joined, joined * columns, joined * columns, sum, map);
  const X* rest = x + rows / joined * joined * columns;
#pragma omp simd
  for (int64_t j = 0; j < rows % joined * columns; ++j) sum[j] += map(static_cast<C>(rest[j]));
  for (int64_t part = joined / 2; part > 0; part /= 2) {
#pragma omp simd
    for (int64_t j = 0; j < part * columns; ++j) sum[j] += sum[j + part * columns];
  }
}

// y[o, i] (+)= sum over n of map(x[o, n, i])
template <class C, class X, class Y, class Map>
void reduce(Stream& stream, const X* x, int64_t outer, int64_t n, int64_t inner, Y* y, bool accumulate,
            const Map& map) {
  const bool narrow = inner < kFewColumns;
  const int64_t block = narrow ? kRows * (kColumns / inner) : kRows;
  const int64_t blocks = std::max<int64_t>(1, (n + block - 1) / block);
  const int64_t bands = (inner + kColumns - 1) / kColumns;
  const auto partial = stream.scratch<C>(blocks > 1 ? outer * blocks * inner : 0);
  parallel_chunks(
      outer * blocks * bands, grain_for(std::min(n, block) * std::min(inner, kColumns)),
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t slice = i / bands, column = i % bands * kColumns, columns = std::min(kColumns, inner - column);
          const int64_t row = slice % blocks * block, rows = std::min(block, n - row);
          const X* from = x + (slice / blocks * n + row) * inner + column;
          C sum[kColumns];
          narrow ? sum_short_rows(from, rows, columns, sum, map) : sum_columns(from, rows, columns, inner, sum, map);
          if (blocks > 1) {
            copy_row(sum, partial + slice * inner + column, columns);
          } else {
            copy_row(sum, y + slice * inner + column, columns, accumulate);
          }
        }
      });
  if (blocks > 1) reduce<C>(stream, partial.get(), outer, blocks, inner, y, accumulate, Identity());
}

}  // namespace

void reduce_sum(Stream& stream, const ReduceSum& args) {
  const int64_t outer = args.x.size(0), n = args.x.size(1), inner = args.x.size(2);
  if (outer * inner == 0) return;
  dispatch_float(args.x.dtype, [&]<class X>() {
    dispatch_float(args.y.dtype, [&]<class Y>() {
      reduce<Compute<X>>(stream, args.x.ptr<X>(), outer, n, inner, args.y.ptr<Y>(), args.accumulate, Identity());
    });
  });
}

void sum_of_squares(Stream& stream, const SumOfSquares& args) {
  dispatch_float(args.x.dtype, [&]<class X>() {
    reduce<double>(stream, args.x.ptr<X>(), 1, args.x.numel(), 1, args.y.ptr<double>(), false, Square());
  });
}

}  // namespace mara::kernels::cpu
