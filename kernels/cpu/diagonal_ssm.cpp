// Filters of diagonal systems. With l = i T + j, lambda^l = (lambda^T)^i lambda^j: a row's filter is the real product
// of (L / T, 2M) by (2M, T) numbers, made from tables of both powers. Tables come from repeated squaring in f64, a few
// operations per entry, so that phases are as good as lambda itself and no transcendental function is in a loop over l.
// The gradients are the transposed product, once with dk and once with i dk.

#include <algorithm>

#include "kernels/cpu/ssm_parameters.h"
#include "kernels/cpu/vector.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

// Registers: kRows x kColumns accumulators forward, 4 x kColumns backward.
constexpr int kColumns = kVectorBytes == 64 ? 4 : 2, kRows = 4;

/// out[i] = first base^i for i < count, as (re, im) rows.
void powers(Z base, Z first, int64_t count, double* re, double* im) {
  re[0] = first.real(), im[0] = first.imag();
  double x = base.real(), y = base.imag();
  for (int64_t width = 1; width < count; width *= 2) {
    for (int64_t i = 0, n = std::min(width, count - width); i < n; ++i) {
      re[width + i] = re[i] * x - im[i] * y;
      im[width + i] = re[i] * y + im[i] * x;
    }
    const double square = x * x - y * y;
    y = 2 * x * y, x = square;
  }
}

/// The tables of one thread for one channel, and what it does with them.
template <class T>
class Powers {
  using V = Vec<T>;
  static constexpr int kLane = kLanes<T>;

 public:
  static constexpr int64_t kTile = 4 * kLane;  // T

  static int64_t padded_pieces(int64_t length) { return ((length + kTile - 1) / kTile + kRows - 1) / kRows * kRows; }
  static int64_t bytes(int64_t modes, int64_t length) {
    const int64_t pieces = padded_pieces(length);
    return 2 * modes * (kTile + pieces) * static_cast<int64_t>(sizeof(T)) +
           2 * std::max(kTile, pieces) * static_cast<int64_t>(sizeof(double));
  }
  Powers(char* memory, int64_t modes, int64_t length)
      : modes_(modes),
        length_(length),
        pieces_(padded_pieces(length)),
        double_(reinterpret_cast<double*>(memory)),
        inner_(reinterpret_cast<T*>(double_ + 2 * std::max(kTile, pieces_))),
        outer_(inner_ + 2 * modes * kTile) {}

  /// lambda^j, j < T, of mode n.
  void set_inner(int64_t n, Z lambda) { fill(inner_ + 2 * n * kTile, kTile, lambda, 1); }
  /// first lambda^(i T) of mode n.
  void set_outer(int64_t n, Z lambda, Z first) {
    for (int64_t t = 1; t < kTile; t *= 2) lambda *= lambda;
    fill(outer_ + 2 * n * pieces_, pieces_, lambda, first);
  }

  /// k[l] = Re sum_n outer[n, i] inner[n, j].
  void sum_modes(T* k) const {
    for (int64_t i = 0; i * kTile < length_; i += kRows) {
      for (int64_t j = 0; j < kTile; j += kColumns * kLane) {
        V sum[kRows][kColumns] = {};
        for (int64_t n = 0; n < modes_; ++n) {
          const T *re = outer_ + 2 * n * pieces_ + i, *im = re + pieces_;
          const T* in = inner_ + 2 * n * kTile + j;
#pragma GCC unroll 4
          for (int column = 0; column < kColumns; ++column) {
            const V x = load(in + column * kLane), y = load(in + kTile + column * kLane);
#pragma GCC unroll 4
            for (int row = 0; row < kRows; ++row) sum[row][column] += x * re[row] - y * im[row];
          }
        }
        for (int row = 0; row < kRows; ++row) {
          for (int column = 0; column < kColumns; ++column) {
            const int64_t l = (i + row) * kTile + j + column * kLane;
            store(k + l, sum[row][column], length_ - l);
          }
        }
      }
    }
  }

  struct Sums {
    Z plain, weighted;  // sum_l g[l] lambda^l, sum_l l g[l] lambda^l
  };
  Sums sum_positions(int64_t n, const T* g) const {
    V re = {}, im = {}, weighted_re = {}, weighted_im = {};
    for (int64_t j = 0; j < kTile; j += kColumns * kLane) {
      V sum[4][kColumns] = {};
      const T *x = outer_ + 2 * n * pieces_, *y = x + pieces_;
      for (int64_t i = 0; i * kTile < length_; ++i) {
#pragma GCC unroll 4
        for (int column = 0; column < kColumns; ++column) {
          const int64_t l = i * kTile + j + column * kLane;
          const V value = load(g + l, length_ - l), times_i = value * static_cast<T>(i);
          sum[0][column] += value * x[i];
          sum[1][column] += value * y[i];
          sum[2][column] += times_i * x[i];
          sum[3][column] += times_i * y[i];
        }
      }
      for (int column = 0; column < kColumns; ++column) {
        const int64_t at = j + column * kLane;
        const T* in = inner_ + 2 * n * kTile + at;
        const V a = load(in), b = load(in + kTile);
        const V p = sum[0][column], q = sum[1][column];
        const V position = lane_index() + static_cast<T>(at);
        const V wp = sum[2][column] * static_cast<T>(kTile) + position * p;
        const V wq = sum[3][column] * static_cast<T>(kTile) + position * q;
        re += a * p - b * q, im += a * q + b * p;
        weighted_re += a * wp - b * wq, weighted_im += a * wq + b * wp;
      }
    }
    return {{sum_lanes<T>(re), sum_lanes<T>(im)}, {sum_lanes<T>(weighted_re), sum_lanes<T>(weighted_im)}};
  }

 private:
  static V lane_index() {
    V out;
    for (int i = 0; i < kLane; ++i) out[i] = static_cast<T>(i);
    return out;
  }
  void fill(T* to, int64_t count, Z base, Z first) {
    powers(base, first, count, double_, double_ + count);
    for (int64_t i = 0; i < 2 * count; ++i) to[i] = static_cast<T>(double_[i]);
  }

  int64_t modes_, length_, pieces_;
  double* double_;
  T *inner_, *outer_;  // (M, 2, T), (M, 2, pieces)
};

/// Runs body(channel, tables) for all channels.
template <class T, class Body>
void for_each_channel(Stream& stream, const SsmParameters<T>& p, int64_t length, const Body& body) {
  const int64_t bytes = (Powers<T>::bytes(p.modes, length) + 4095) / 4096 * 4096;
  const auto memory = stream.scratch<char>(bytes * thread_count());
  const int64_t grain = grain_for(p.rows / p.channels * p.modes * length, 1 << 18);
  parallel_chunks(p.channels, grain, [&](int64_t begin, int64_t end) {
    Powers<T> tables(memory + omp_get_thread_num() * bytes, p.modes, length);
    for (int64_t h = begin; h < end; ++h) body(h, tables);
  });
}

template <class T>
void forward(Stream& stream, const DiagonalSsmForward& args) {
  const SsmParameters<T> p(args);
  const int64_t length = args.k.size(1);
  for_each_channel<T>(stream, p, length, [&](int64_t h, Powers<T>& tables) {
    const double dt = p.dt(h);
    const int64_t s = p.system(h);
    for (int64_t r = h; r < p.rows; r += p.channels) {
      for (int64_t n = 0; n < p.modes; ++n) {
        const DiscreteMode mode = discretize(p.a(s, n), dt, args.discretization);
        if (r == h) tables.set_inner(n, mode.lambda);
        tables.set_outer(n, mode.lambda, 2.0 * p.complex(args.c, r, n) * p.complex(args.b, s, n) * mode.phi);
      }
      tables.sum_modes(args.k.ptr<T>() + r * length);
    }
  });
}

template <class T>
void backward(Stream& stream, const DiagonalSsmBackward& args) {
  const SsmParameters<T> p(args);
  const int64_t length = args.dk.size(1);
  const auto by_row = stream.scratch<ModeGradient>(p.rows * p.modes);
  const auto dlog_dt = stream.scratch<double>(p.rows);
  for_each_channel<T>(stream, p, length, [&](int64_t h, Powers<T>& tables) {
    const double dt = p.dt(h);
    const int64_t s = p.system(h);
    for (int64_t r = h; r < p.rows; r += p.channels) {
      double step = 0;
      for (int64_t n = 0; n < p.modes; ++n) {
        const Z a = p.a(s, n), b = p.complex(args.b, s, n), c = p.complex(args.c, r, n);
        const DiscreteMode mode = discretize(a, dt, args.discretization);
        if (r == h) {
          tables.set_inner(n, mode.lambda);
          tables.set_outer(n, mode.lambda, 1);
        }
        const auto [plain, weighted] = tables.sum_positions(n, args.dk.ptr<T>() + r * length);
        const Z dv = 2.0 * std::conj(plain), dx = 2.0 * std::conj(c * b * mode.phi * weighted);
        const Z dphi = dv * std::conj(c * b);
        const Z dz = dx * std::conj(mode.dlog_lambda) + dphi * (dt * std::conj(mode.dphi_z));
        step += (dphi * std::conj(mode.phi) + dz * (dt * std::conj(a))).real();
        by_row[r * p.modes + n] = {dt * dz, dv * std::conj(c * mode.phi), 0};
        p.put(args.dc, r * p.modes + n, dv * std::conj(b * mode.phi), args.accumulate_c);
      }
      dlog_dt[r] = step;
    }
  });
  p.give(args, by_row.get(), dlog_dt.get());
}

}  // namespace

void diagonal_ssm_forward(Stream& stream, const DiagonalSsmForward& args) {
  dispatch_parameters(args.k.dtype, [&]<class T>() { forward<T>(stream, args); });
}

void diagonal_ssm_backward(Stream& stream, const DiagonalSsmBackward& args) {
  dispatch_parameters(args.dk.dtype, [&]<class T>() { backward<T>(stream, args); });
}

}  // namespace mara::kernels::cpu
