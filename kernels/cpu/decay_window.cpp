#include <cmath>

#include "kernels/common/numeric.h"
#include "kernels/cpu/rows.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

template <class T>
void run(const DecayWindow& args) {
  const int64_t length = args.x.size(1);
  const T *rate = args.rate.ptr<T>(), *time = args.time.ptr<T>();
  const T shift = static_cast<T>(args.shift);
  parallel_chunks(args.x.size(0), grain_for(length), [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) {
      const T* x = args.x.ptr<T>() + d * length;
      T* y = args.y.ptr<T>() + d * length;
      const T slope = -std::abs(rate[d]);
#pragma omp simd
      for (int64_t l = 0; l < length; ++l) y[l] = x[l] * (numeric::exp(slope * time[l]) + shift);
    }
  });
}

template <class T>
void run(const DecayWindowRate& args) {
  const int64_t length = args.x.size(1);
  const T *rate = args.rate.ptr<T>(), *time = args.time.ptr<T>();
  T* drate = args.drate.ptr<T>();
  parallel_chunks(args.x.size(0), grain_for(length), [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) {
      const T *x = args.x.ptr<T>() + d * length, *dy = args.dy.ptr<T>() + d * length;
      const T slope = -std::abs(rate[d]), sign = rate[d] > 0 ? T(1) : rate[d] < 0 ? T(-1) : T(0);
      const T sum =
          sum_over<T>(length, [&](int64_t l) { return dy[l] * x[l] * (time[l] * numeric::exp(slope * time[l])); });
      drate[d] = (args.accumulate ? drate[d] : T(0)) - sign * sum;
    }
  });
}

}  // namespace

void decay_window(Stream&, const DecayWindow& args) {
  args.x.dtype == Dtype::f64 ? run<double>(args) : run<float>(args);
}
void decay_window_rate(Stream&, const DecayWindowRate& args) {
  args.x.dtype == Dtype::f64 ? run<double>(args) : run<float>(args);
}

}  // namespace mara::kernels::cpu
