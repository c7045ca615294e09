// Filters of diagonal plus low rank systems, a row per lane. On the unit circle z / dt = i w, w = 2 tan(pi j / T) / dt,
// and a mode with its conjugate is
//   v / (i w - a) + conj v / (i w - conj a) = (A + i w B) / (d + i w e)
//   A = -2 Re(v conj a),  B = 2 Re v,  d = |a|^2 - w^2,  e = -2 Re a
// so one reciprocal of d^2 + w^2 e^2 serves the four sums over modes. At a resonance |a| and w agree in most of their
// digits; each is a pair of numbers, high and low, and their difference as good as in f64. The backward makes the sums
// again, in tiles of bins that stay in the cache.

#include <algorithm>

#include "kernels/cpu/lane_transform.h"
#include "kernels/cpu/ssm_parameters.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

constexpr int kSums = 4;           // k00, k01, k10, k11
constexpr int64_t kTileBins = 16;  // of a backward's tile

/// A number beyond the precision of C.
template <class V>
struct Pair {
  V high, low;

  template <class C = std::remove_cvref_t<decltype(V{}[0])>>
  void set(int lane, double value) {
    const C rounded = static_cast<C>(value);
    high[lane] = rounded, low[lane] = static_cast<C>(value - static_cast<double>(rounded));
  }
};

template <class V>
struct Mode {
  V A[kSums], B[kSums], e;
  Pair<V> size;  // |a|
};
template <class V>
struct ModeSums {  // gradients
  V A[kSums], B[kSums], d, e;
};

template <class V>
struct Bin {
  Pair<V> w;
  V square;  // of w
};

/// q = 1 / (d^2 + w^2 e^2), d q and e q.
template <class V>
struct Ratios {
  V q, d, e;
};
template <class V>
MARA_INLINE Ratios<V> ratios(const Mode<V>& mode, const Bin<V>& bin) {
  const V d = ((mode.size.high - bin.w.high) + (mode.size.low - bin.w.low)) * (mode.size.high + bin.w.high);
  const V q = 1 / (d * d + mode.e * mode.e * bin.square);
  return {q, d * q, mode.e * q};
}

template <class V, int kBins>
MARA_INLINE void sum_modes(const Mode<V>* modes, int64_t count, const Bin<V>* bins, Complex<V> (*k)[kSums]) {
  V re[kBins][kSums] = {}, im[kBins][kSums] = {};
  for (int64_t n = 0; n < count; ++n) {
    const Mode<V>& mode = modes[n];
#pragma GCC unroll 2
    for (int bin = 0; bin < kBins; ++bin) {
      const Ratios<V> ratio = ratios(mode, bins[bin]);
      const V ratio_e = ratio.e * bins[bin].square;
#pragma GCC unroll 4
      for (int i = 0; i < kSums; ++i) {
        re[bin][i] += mode.A[i] * ratio.d + mode.B[i] * ratio_e;
        im[bin][i] += mode.B[i] * ratio.d - mode.A[i] * ratio.e;
      }
    }
  }
  for (int bin = 0; bin < kBins; ++bin) {
    for (int i = 0; i < kSums; ++i) k[bin][i] = {re[bin][i], im[bin][i] * bins[bin].w.high};
  }
}

/// What one thread needs for a group of as many rows as there are lanes.
template <class T>
class Rows {
 public:
  using V = Vec<T>;
  static constexpr int64_t kWidth = kLanes<T>;

  template <class Args>
  Rows(const SsmParameters<T>& p, const Args& args, const LaneTransform<T>& transform, const double* tangents,
       char* memory)
      : p_(p),
        b_(args.b),
        p_vector_(args.p),
        c_(args.c),
        transform_(transform),
        tangents_(tangents),
        period_(args.period),
        bins_(reinterpret_cast<Complex<V>*>(memory)),
        modes_(reinterpret_cast<Mode<V>*>(bins_ + period_ / 2)),
        sums_(reinterpret_cast<ModeSums<V>*>(modes_ + p.modes)) {}
  static int64_t bytes(const SsmParameters<T>& p, int64_t period) {
    return period / 2 * static_cast<int64_t>(sizeof(Complex<V>)) +
           p.modes * static_cast<int64_t>(sizeof(Mode<V>) + sizeof(ModeSums<V>));
  }

  void move_to(int64_t first_row) {
    first_ = first_row;
    count_ = std::min(kWidth, p_.rows - first_row);
    for (int lane = 0; lane < kWidth; ++lane) {
      const int64_t r = row(lane), s = p_.system(r);
      inverse_dt_[lane] = 1 / p_.dt(p_.channel(r));
      double last = 0;
      for (int64_t n = 0; n < p_.modes; ++n) {
        const Z a = p_.a(s, n);
        Mode<V>& mode = modes_[n];
        const Terms terms(*this, r, n);
        for (int i = 0; i < kSums; ++i) {
          mode.A[i][lane] = static_cast<T>(-2 * (terms.v[i] * std::conj(a)).real());
          mode.B[i][lane] = static_cast<T>(2 * terms.v[i].real());
        }
        mode.e[lane] = static_cast<T>(-2 * a.real());
        mode.size.set(lane, std::abs(a));
        last += terms.v[0].real();
      }
      last_[lane] = static_cast<T>(last / inverse_dt_[lane]);
    }
  }

  void forward(const View& k) {
    const T scale = T(1) / static_cast<T>(period_);
    const int64_t n = period_ / 2;
    for (int64_t j = 0; j < n; j += 2) {
      const Bin<V> bins[2] = {bin(j), bin(j + 1)};
      Complex<V> sums[2][kSums];
      sum_modes<V, 2>(modes_, p_.modes, bins, sums);
      for (int64_t i = 0; i < std::min<int64_t>(2, n - j); ++i) {
        const Complex<V>* s = sums[i];
        const Complex<V> value = s[0] - mul(mul(s[1], s[2]), one_over_one_plus(s[3]));
        const Complex<T> factor{scale, scale * static_cast<T>(tangents_[j + i])};
        bins_[transform_.place(j + i)] = mul(value, factor);
      }
    }
    transform_.inverse(bins_, last_ * scale);
    write(k);
  }

  template <class Args>
  void backward(const Args& args, ModeGradient* by_row, double* dlog_dt) {
    read(args.dk);
    const V last = transform_.forward(bins_);
    std::fill_n(sums_, p_.modes, ModeSums<V>{});
    for (int64_t j = 0; j < period_ / 2; j += kTileBins) add_tile(j, std::min(kTileBins, period_ / 2 - j));
    for (int lane = 0; lane < count_; ++lane) {
      give(lane, last[lane] / static_cast<double>(period_), args, by_row, dlog_dt);
    }
  }

 private:
  /// Numerators of a row's mode: c b, c p, conj p b, conj p p.
  struct Terms {
    Z b, c, p, v[kSums];
    Terms(const Rows& rows, int64_t r, int64_t n)
        : b(rows.p_.complex(rows.b_, rows.p_.system(r), n)),
          c(rows.p_.complex(rows.c_, r, n)),
          p(rows.p_.complex(rows.p_vector_, rows.p_.system(r), n)),
          v{c * b, c * p, std::conj(p) * b, std::norm(p)} {}
  };

  // Lanes beyond the rows repeat the last one.
  int64_t row(int64_t lane) const { return first_ + std::min(lane, count_ - 1); }

  Bin<V> bin(int64_t j) const {
    Bin<V> out;
    for (int lane = 0; lane < kWidth; ++lane) out.w.set(lane, 2 * tangents_[j] * inverse_dt_[lane]);
    out.square = out.w.high * out.w.high;
    return out;
  }
  static Complex<V> one_over_one_plus(Complex<V> z) {
    const V re = 1 + z.re, inverse = 1 / (re * re + z.im * z.im);
    return {re * inverse, -z.im * inverse};
  }

  void write(const View& k) const {
    const int64_t length = k.size(1);
    for (int64_t l = 0; l < length; l += kWidth) {
      V square[kWidth] = {};
      for (int64_t i = 0; i < std::min(kWidth, period_ - l); i += 2) {
        square[i] = bins_[(l + i) / 2].re, square[i + 1] = bins_[(l + i) / 2].im;
      }
      transpose<T>(square);
      for (int64_t lane = 0; lane < count_; ++lane) {
        store(k.ptr<T>() + (first_ + lane) * length + l, square[lane], length - l);
      }
    }
  }
  void read(const View& dk) {
    const int64_t length = dk.size(1);
    for (int64_t l = 0; l < period_; l += kWidth) {
      V square[kWidth];
      for (int64_t lane = 0; lane < kWidth; ++lane) {
        square[lane] = load(dk.ptr<T>() + row(lane) * length + l, length - l);
      }
      transpose<T>(square);
      for (int64_t i = 0; i < std::min(kWidth, period_ - l); i += 2) {
        bins_[(l + i) / 2] = {square[i], square[i + 1]};
      }
    }
  }

  void add_tile(int64_t first, int64_t count) {
    Bin<V> bins[kTileBins];
    // Of G = gradient of a sum: Re G, w Im G, w^2 Re G.
    struct {
      V re[kSums], w_im[kSums], square_re[kSums];
    } g[kTileBins];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t j = first + i;
      bins[i] = bin(j);
      Complex<V> k[1][kSums];
      sum_modes<V, 1>(modes_, p_.modes, &bins[i], k);
      const auto& [k00, k01, k10, k11] = k[0];
      const T weight = static_cast<T>((j == 0 ? 1.0 : 2.0) / static_cast<double>(period_));
      const Complex<T> factor{weight, weight * static_cast<T>(tangents_[j])};
      const Complex<V> inverse = one_over_one_plus(k11), g00 = mul_conj(bins_[transform_.place(j)], factor);
      const Complex<V> ratio01 = mul(k01, inverse), ratio10 = mul(k10, inverse);
      const Complex<V> minus = {-g00.re, -g00.im};
      const Complex<V> gradient[kSums] = {g00, mul_conj(minus, ratio10), mul_conj(minus, ratio01),
                                          mul_conj(g00, mul(ratio01, ratio10))};
      for (int sum = 0; sum < kSums; ++sum) {
        g[i].re[sum] = gradient[sum].re;
        g[i].w_im[sum] = gradient[sum].im * bins[i].w.high;
        g[i].square_re[sum] = gradient[sum].re * bins[i].square;
      }
    }
    for (int64_t n = 0; n < p_.modes; ++n) {
      const Mode<V>& mode = modes_[n];
      ModeSums<V> sum = sums_[n];
      for (int64_t i = 0; i < count; ++i) {
        const Ratios<V> ratio = ratios(mode, bins[i]);
        V dratio_d = {}, dratio_e = {};
#pragma GCC unroll 4
        for (int s = 0; s < kSums; ++s) {
          sum.A[s] += g[i].re[s] * ratio.d - g[i].w_im[s] * ratio.e;
          sum.B[s] += g[i].square_re[s] * ratio.e + g[i].w_im[s] * ratio.d;
          dratio_d += mode.A[s] * g[i].re[s] + mode.B[s] * g[i].w_im[s];
          dratio_e += mode.B[s] * g[i].square_re[s] - mode.A[s] * g[i].w_im[s];
        }
        // dq = -q^2 (2 d dd + 2 w^2 e de)
        const V both = 2 * (dratio_d * ratio.d + dratio_e * ratio.e);
        sum.d += dratio_d * ratio.q - ratio.d * both;
        sum.e += dratio_e * ratio.q - bins[i].square * ratio.e * both;
      }
      sums_[n] = sum;
    }
  }

  // From the sums of a lane to the parameters of its row.
  template <class Args>
  void give(int lane, double last, const Args& args, ModeGradient* by_row, double* dlog_dt) const {
    const int64_t r = row(lane), s = p_.system(r);
    const double dt = 1 / inverse_dt_[lane];
    double step = 0;
    for (int64_t n = 0; n < p_.modes; ++n) {
      const Terms terms(*this, r, n);
      const ModeSums<V>& sum = sums_[n];
      const Z a = p_.a(s, n), b = terms.b, c = terms.c, p = terms.p;
      Z dv[kSums], da = 2.0 * a * static_cast<double>(sum.d[lane]) - 2.0 * static_cast<double>(sum.e[lane]);
      // k(w, a, v) has the degree -1 in (w, a) and 1 in v, so -w dk/dw = a dk/da + v dk/dv.
      for (int i = 0; i < kSums; ++i) {
        const double dA = sum.A[i][lane], dB = sum.B[i][lane];
        dv[i] = 2 * dB - 2 * dA * a;
        da -= 2 * dA * terms.v[i];
        step += (std::conj(dv[i]) * terms.v[i]).real();
      }
      step += (std::conj(da) * a).real() + last * dt * terms.v[0].real();
      dv[0] += last * dt;
      by_row[r * p_.modes + n] = {da, dv[0] * std::conj(c) + dv[2] * p,
                                  dv[1] * std::conj(c) + std::conj(dv[2]) * b + 2 * dv[3].real() * p};
      p_.put(args.dc, r * p_.modes + n, dv[0] * std::conj(b) + dv[1] * std::conj(p), args.accumulate_c);
    }
    dlog_dt[r] = step;
  }

  const SsmParameters<T>& p_;
  const View &b_, &p_vector_, &c_;
  const LaneTransform<T>& transform_;
  const double* tangents_;  // tan(pi j / T)
  int64_t period_, first_ = 0, count_ = 0;
  Complex<V>* bins_;
  Mode<V>* modes_;
  ModeSums<V>* sums_;
  double inverse_dt_[kWidth];
  V last_;
};

/// Runs body(rows) for all groups of rows.
template <class T, class Args, class Body>
void for_each_group(Stream& stream, const SsmParameters<T>& p, const Args& args, const Body& body) {
  const int64_t period = args.period, width = Rows<T>::kWidth;
  const auto table = stream.scratch<Complex<T>>(LaneTransform<T>::table_size(period));
  const LaneTransform<T> transform(period, table);
  const auto tangents = stream.scratch<double>(period / 2 + 1);  // bins come in pairs
  for (int64_t j = 0; j <= period / 2; ++j) {
    tangents[j] =
        std::tan(std::numbers::pi * static_cast<double>(std::min(j, period / 2 - 1)) / static_cast<double>(period));
  }
  const int64_t bytes = (Rows<T>::bytes(p, period) + 4095) / 4096 * 4096;
  const auto memory = stream.scratch<char>(bytes * thread_count());
  parallel_chunks((p.rows + width - 1) / width, 1, [&](int64_t begin, int64_t end) {
    Rows<T> rows(p, args, transform, tangents, memory + omp_get_thread_num() * bytes);
    for (int64_t group = begin; group < end; ++group) {
      rows.move_to(group * width);
      body(rows);
    }
  });
}

template <class T>
void forward(Stream& stream, const DplrSsmForward& args) {
  const SsmParameters<T> p(args);
  for_each_group<T>(stream, p, args, [&](Rows<T>& rows) { rows.forward(args.k); });
}

template <class T>
void backward(Stream& stream, const DplrSsmBackward& args) {
  const SsmParameters<T> p(args);
  const auto by_row = stream.scratch<ModeGradient>(p.rows * p.modes);
  const auto dlog_dt = stream.scratch<double>(p.rows);
  for_each_group<T>(stream, p, args, [&](Rows<T>& rows) { rows.backward(args, by_row.get(), dlog_dt.get()); });
  p.give(args, by_row.get(), dlog_dt.get());
}

}  // namespace

void dplr_ssm_forward(Stream& stream, const DplrSsmForward& args) {
  dispatch_parameters(args.k.dtype, [&]<class T>() { forward<T>(stream, args); });
}

void dplr_ssm_backward(Stream& stream, const DplrSsmBackward& args) {
  dispatch_parameters(args.dk.dtype, [&]<class T>() { backward<T>(stream, args); });
}

}  // namespace mara::kernels::cpu
