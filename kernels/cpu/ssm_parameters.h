#pragma once
// Parameters of state-space kernels as complex numbers in f64, and the way back of their gradients.

#include <complex>

#include "core/parallel.h"
#include "core/stream.h"
#include "kernels/common/discretize.h"

namespace mara::kernels::cpu {

using Z = std::complex<double>;

/// Gradients of a row's mode, to be summed over the rows that share it.
struct ModeGradient {
  Z a, b, p;
};

/// Reads and writes what diagonal and DPLR kernels have in common; T = float or double.
template <class T>
class SsmParameters {
 public:
  int64_t rows, channels, systems, modes;  // R, H, S, M

  template <class Args>
  explicit SsmParameters(const Args& a)
      : rows(a.c.size(0)),
        channels(a.log_dt.size(0)),
        systems(a.log_decay.size(0)),
        modes(a.log_decay.size(1)),
        rate_(a.rate),
        log_dt_(a.log_dt.template ptr<T>()),
        log_decay_(a.log_decay.template ptr<T>()),
        frequency_(a.frequency.template ptr<T>()) {}

  int64_t channel(int64_t row) const { return row % channels; }
  int64_t system(int64_t row) const { return row % systems; }  // S divides H, H divides R

  double dt(int64_t channel) const { return rate_ * bounded_exp(log_dt_[channel]).value; }
  Z a(int64_t system, int64_t n) const {
    const int64_t i = system * modes + n;
    return {-bounded_exp(log_decay_[i]).value, bounded_frequency(frequency_[i]).value};
  }
  /// Mode n of row (or system) i of a complex parameter.
  Z complex(const View& view, int64_t i, int64_t n) const {
    const T* pair = view.ptr<T>() + 2 * (i * modes + n);
    return {pair[0], pair[1]};
  }

  /// Sums over rows in their order; by_row (R, M), dlog_dt (R) of each row.
  template <class Args>
  void give(const Args& g, const ModeGradient* by_row, const double* dlog_dt) const {
    for (int64_t h = 0; g.dlog_dt && h < channels; ++h) {
      double sum = 0;
      for (int64_t r = h; r < rows; r += channels) sum += dlog_dt[r];
      put(g.dlog_dt, h, sum * inside(log_dt_[h]), g.accumulate_log_dt);
    }
    parallel_chunks(systems, grain_for(modes * rows / systems, 4096), [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        for (int64_t n = 0; n < modes; ++n) {
          ModeGradient sum{};
          for (int64_t r = s; r < rows; r += systems) {
            const ModeGradient& row = by_row[r * modes + n];
            sum = {sum.a + row.a, sum.b + row.b, sum.p + row.p};
          }
          const int64_t i = s * modes + n;
          put(g.dlog_decay, i, -bounded_exp(log_decay_[i]).derivative * sum.a.real(), g.accumulate_log_decay);
          put(g.dfrequency, i, bounded_frequency(frequency_[i]).derivative * sum.a.imag(), g.accumulate_frequency);
          put(g.db, i, sum.b, g.accumulate_b);
          if constexpr (requires { g.dp; }) put(g.dp, i, sum.p, g.accumulate_p);
        }
      }
    });
  }
  static void put(const View& view, int64_t i, double value, bool accumulate) {
    if (!view) return;
    T& out = view.ptr<T>()[i];
    out = static_cast<T>(accumulate ? static_cast<double>(out) + value : value);
  }
  static void put(const View& view, int64_t i, Z value, bool accumulate) {
    put(view, 2 * i, value.real(), accumulate);
    put(view, 2 * i + 1, value.imag(), accumulate);
  }

 private:
  static double inside(double x) { return std::fabs(x) > kSsmExponent ? 0 : 1; }

  double rate_;
  const T *log_dt_, *log_decay_, *frequency_;
};

/// Calls f.template operator()<T>() for parameters of f32 or f64.
template <class F>
void dispatch_parameters(Dtype dtype, const F& f) {
  dtype == Dtype::f64 ? f.template operator()<double>() : f.template operator()<float>();
}

}  // namespace mara::kernels::cpu
