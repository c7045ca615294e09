#include "kernels/cpu/rows.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

// The places at which each value occurs in an index, in ascending order: a counting sort.
class Occurrences {
 public:
  Occurrences(Stream& stream, const int32_t* index, int64_t m, int64_t n)
      : start_(stream.scratch<int64_t>(n + 2)), place_(stream.scratch<int64_t>(m + 1)) {
    // The count of value v is taken at v + 2, so that start_[v + 1] can serve as the write position of v and ends
    // up as its end.
    std::fill_n(start_.get(), n + 2, 0);
    for (int64_t i = 0; i < m; ++i) ++start_[index[i] + 2];
    for (int64_t v = 0; v < n; ++v) start_[v + 2] += start_[v + 1];
    for (int64_t i = 0; i < m; ++i) place_[start_[index[i] + 1]++] = i;
    place_[m] = 0;  // read ahead of use, for the prefetch
  }
  const int64_t* begin(int64_t value) const { return place_ + start_[value]; }
  const int64_t* end(int64_t value) const { return place_ + start_[value + 1]; }

 private:
  Stream::Scratch<int64_t> start_, place_;
};

}  // namespace

void gather_forward(Stream&, const GatherForward& args) {
  const int64_t n = args.x.size(1), inner = args.x.size(2), m = args.index.numel();
  const int32_t* index = args.index.ptr<int32_t>();
  dispatch_float(args.x.dtype, [&]<class X>() {
    dispatch_float(args.y.dtype, [&]<class Y>() {
      const X* x = args.x.ptr<X>();
      Y* y = args.y.ptr<Y>();
      parallel_chunks(args.x.size(0) * m, grain_for(inner), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          copy_row(x + (i / m * n + index[i % m]) * inner, y + i * inner, inner);
        }
      });
    });
  });
}

void gather_backward(Stream& stream, const GatherBackward& args) {
  constexpr int64_t kColumns = 256;  // summed at a time
  const int64_t m = args.index.numel(), rows = args.dx.size(0) * args.dx.size(1), n = args.dx.size(1);
  const int64_t inner = args.dx.size(2), bands = (inner + kColumns - 1) / kColumns;
  if (rows == 0) return;
  const Occurrences occurrences(stream, args.index.ptr<int32_t>(), m, n);
  dispatch_float(args.dy.dtype, [&]<class Y>() {
    dispatch_float(args.dx.dtype, [&]<class X>() {
      using C = Common<X, Y>;
      const int64_t cost = std::min(inner, kColumns) * (1 + m / n);
      parallel_chunks(bands * rows, grain_for(cost), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t column = i / rows * kColumns, row = i % rows, count = std::min(kColumns, inner - column);
          const Y* dy = args.dy.ptr<Y>() + row / n * m * inner + column;
          X* dx = args.dx.ptr<X>() + row * inner + column;
          C sum[kColumns];
          std::fill_n(sum, count, C(0));
          for (const int64_t* at = occurrences.begin(row % n); at != occurrences.end(row % n); ++at) {
            const Y* from = dy + *at * inner;
            __builtin_prefetch(dy + at[1] * inner);
#pragma omp simd
            for (int64_t j = 0; j < count; ++j) sum[j] += static_cast<C>(from[j]);
          }
          copy_row(sum, dx, count, args.accumulate);
        }
      });
    });
  });
}

}  // namespace mara::kernels::cpu
