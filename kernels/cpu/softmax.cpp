#include <limits>

#include "kernels/common/numeric.h"
#include "kernels/cpu/rows.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

template <class T>
Compute<T> largest(const T* x, int64_t n) {
  auto out = -std::numeric_limits<Compute<T>>::infinity();
#pragma omp simd reduction(max : out)
  for (int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<Compute<T>>(x[i]);
    out = value > out ? value : out;  // skips NaN, which reaches every element through the sum
  }
  return out;
}

}  // namespace

void softmax_forward(Stream&, const SoftmaxForward& args) {
  const int64_t d = args.x.size(1);
  dispatch_float(args.x.dtype, [&]<class T>() {
    using C = Compute<T>;
    parallel_chunks(args.x.size(0), grain_for(d), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* x = args.x.ptr<T>() + row * d;
        T* y = args.y.ptr<T>() + row * d;
        const C top = largest(x, d);
        // The exponentials are computed twice rather than kept, which would round them to T in between.
        const C sum = sum_over<C>(d, [&](int64_t i) { return numeric::exp(static_cast<C>(x[i]) - top); });
        const C factor = 1 / sum;
#pragma omp simd
        for (int64_t i = 0; i < d; ++i) put(y[i], numeric::exp(static_cast<C>(x[i]) - top) * factor);
      }
    });
  });
}

void softmax_backward(Stream&, const SoftmaxBackward& args) {
  const int64_t d = args.y.size(1);
  dispatch_float(args.y.dtype, [&]<class T>() {
    using C = Compute<T>;
    parallel_chunks(args.y.size(0), grain_for(d), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T *y = args.y.ptr<T>() + row * d, *dy = args.dy.ptr<T>() + row * d;
        T* dx = args.dx.ptr<T>() + row * d;
        const C mean = sum_over<C>(d, [&](int64_t i) { return static_cast<C>(dy[i]) * static_cast<C>(y[i]); });
#pragma omp simd
        for (int64_t i = 0; i < d; ++i) put(dx[i], static_cast<C>(y[i]) * (static_cast<C>(dy[i]) - mean));
      }
    });
  });
}

}  // namespace mara::kernels::cpu
