#include "kernels/short_conv.h"

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"
#include "core/stream.h"
#include "kernels/cpu/vector.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

constexpr int64_t kMaxTaps = 64;

/// A row that reads 0 outside [0, length).
template <class T>
class Row {
  using C = Compute<T>;
  using V = Vec<C>;

 public:
  explicit Row(int64_t length) : length_(length) {}

  void move_to(const T* data) {
    data_ = data;
    store(start_ + kMaxTaps, load(data, length_));
  }
  /// Values l .. l + V - 1, l > -kMaxTaps.
  MARA_INLINE V at(int64_t l) const { return l < 0 ? load(start_ + kMaxTaps + l) : load(data_ + l, length_ - l); }
  /// The same where all of them are within the row.
  MARA_INLINE V inside(int64_t l) const { return load(data_ + l); }

 private:
  const T* data_ = nullptr;
  int64_t length_;
  C start_[kMaxTaps + kLanes<C>] = {};
};

/// A channel's taps as vectors, in the order of the lag.
template <class C>
struct Taps {
  Vec<C> at_lag[kMaxTaps];

  Taps(const View& weight, int64_t d) {
    const auto w = weight.as<C, 2>();
    for (int64_t lag = 0; lag < weight.size(1); ++lag) at_lag[lag] = Vec<C>{} + w(d, weight.size(1) - 1 - lag);
  }
};

/// What the sum for y[l] starts from.
template <class C>
struct Start {
  Vec<C> steady = {};  // where all taps lie within the row
  int64_t reach = 0;   // from here on
  C ramp[kMaxTaps + kLanes<C>] = {};

  Start() = default;
  /// bias + input_bias times the taps within the row.
  Start(const ShortConvForward& a, int64_t d) : reach(a.weight.size(1) - 1) {
    const auto w = a.weight.as<C, 2>();
    C start = a.bias ? a.bias.as<C, 1>()(d) : C(0);
    for (int64_t l = 0; l < reach + kLanes<C>; ++l) {
      if (a.input_bias && l <= reach) start += a.input_bias.as<C, 1>()(d) * w(d, reach - l);
      ramp[l] = start;
    }
    steady = load(ramp + reach);
  }
  MARA_INLINE Vec<C> at(int64_t l) const { return l < reach ? load(ramp + l) : steady; }
};

/// Calls step(l, vectors, inside) along a row, for as many vectors from l on as a step takes at a time; `inside` says
/// that [l - reach, l + vectors V + reach) is within the row.
template <class C, class Step>
MARA_INLINE void walk(int64_t length, int64_t reach, const Step& step) {
  constexpr int64_t kWidth = kLanes<C>;
  using Single = std::integral_constant<int, 1>;
  using Several = std::integral_constant<int, 4>;
  int64_t l = 0;
  for (; l < std::min(length, reach); l += kWidth) step(l, Single{}, std::false_type{});
  for (; l + Several{} * kWidth + reach <= length; l += Several{} * kWidth) step(l, Several{}, std::true_type{});
  for (; l < length; l += kWidth) step(l, Single{}, std::false_type{});
}

template <class T>
T* row(const View& view, int64_t d, int64_t b) {
  return view.ptr<T>() + d * view.stride[0] + b * view.stride[1];
}

/// y[l] = start[l] + sum_lag taps[lag] x[l - kDirection lag]. kTaps is the number of taps if not 0.
template <int kTaps, int kDirection, class T, class V>
void convolve(const Row<T>& x, int64_t length, const V* taps, int64_t count, const Start<Compute<T>>& start, T* y) {
  using C = Compute<T>;
  const int64_t lags = kTaps > 0 ? kTaps : count;
  const V steady = start.steady;
  walk<C>(length, lags - 1, [&](int64_t l, auto vectors, auto inside) {
    V sum[vectors];
    for (int i = 0; i < vectors; ++i) sum[i] = inside || kDirection < 0 ? steady : start.at(l + i * kLanes<C>);
#pragma GCC unroll 4
    for (int64_t lag = 0; lag < lags; ++lag) {
      for (int i = 0; i < vectors; ++i) {
        const int64_t from = l + i * kLanes<C> - kDirection * lag;
        sum[i] += taps[lag] * (inside ? x.inside(from) : x.at(from));
      }
    }
    for (int i = 0; i < vectors; ++i) store(y + l + i * kLanes<C>, sum[i], length - l - i * kLanes<C>);
  });
}

/// sum[lag] += sum_l g[l] x[l - lag] for kTaps lags from `first` on.
template <int kTaps, class T, class V>
void correlate(const Row<T>& g, const Row<T>& x, int64_t length, int64_t first, V* sum) {
  using C = Compute<T>;
  V row_sum[kTaps] = {};
  walk<C>(length, first + kTaps - 1, [&](int64_t l, auto vectors, auto inside) {
    for (int i = 0; i < vectors; ++i) {
      const int64_t at = l + i * kLanes<C>;
      const V value = inside ? g.inside(at) : g.at(at);
#pragma GCC unroll 4
      for (int lag = 0; lag < kTaps; ++lag) {
        row_sum[lag] += value * (inside ? x.inside(at - first - lag) : x.at(at - first - lag));
      }
    }
  });
  for (int lag = 0; lag < kTaps; ++lag) sum[first + lag] += row_sum[lag];
}

/// Calls f.operator()<kTaps>() with the number of taps where it is common, else with 0.
template <class F>
void with_taps(int64_t taps, const F& f) {
  switch (taps) {
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    default:
      return f.template operator()<0>();
  }
}

template <int kTaps, class T>
void forward(const ShortConvForward& a) {
  using C = Compute<T>;
  const int64_t batches = a.u.size(1), length = a.u.size(2), taps = a.weight.size(1);
  parallel_chunks(a.u.size(0), grain_for(batches * length), [&](int64_t begin, int64_t end) {
    Row<T> x(length);
    for (int64_t d = begin; d < end; ++d) {
      const Taps<C> weight(a.weight, d);
      const Start<C> start(a, d);
      for (int64_t b = 0; b < batches; ++b) {
        x.move_to(row<T>(a.u, d, b));
        convolve<kTaps, 1>(x, length, weight.at_lag, taps, start, row<T>(a.y, d, b));
      }
    }
  });
}

// With tail[lag] the sum of dy[l] over l >= lag: dbias = tail[0], the input bias adds input_bias tail to dweight, and
// dinput_bias = sum_lag weight tail.
template <int kTaps, class T>
void backward(const ShortConvBackward& a) {
  using C = Compute<T>;
  using V = Vec<C>;
  const int64_t batches = a.u.size(1), length = a.u.size(2), taps = a.weight.size(1);
  const bool has_input_bias = a.input_bias || a.dinput_bias;
  parallel_chunks(a.u.size(0), grain_for(batches * length), [&](int64_t begin, int64_t end) {
    Row<T> g(length), x(length);
    const Start<C> zero;
    for (int64_t d = begin; d < end; ++d) {
      const Taps<C> weight(a.weight, d);
      V dweight[kMaxTaps] = {}, total = {};
      C first[kMaxTaps] = {};  // sums of dy at the positions that some lags do not reach
      for (int64_t b = 0; b < batches; ++b) {
        const T* dy = row<T>(a.dy, d, b);
        g.move_to(dy);
        x.move_to(row<T>(a.u, d, b));
        if (a.du) convolve<kTaps, -1>(g, length, weight.at_lag, taps, zero, row<T>(a.du, d, b));
        if (a.dweight) {
          int64_t lag = 0;
          for (; kTaps != 3 && lag + 4 <= taps; lag += 4) correlate<4>(g, x, length, lag, dweight);
          if constexpr (kTaps == 3) {
            correlate<3>(g, x, length, 0, dweight);
          } else {
            for (; lag < taps; ++lag) correlate<1>(g, x, length, lag, dweight);
          }
        }
        if (a.dbias || has_input_bias) {
          V sum = {};
          for (int64_t l = 0; l < length; l += kLanes<C>) sum += g.at(l);
          total += sum;
        }
        for (int64_t l = 0; has_input_bias && l < std::min(taps - 1, length); ++l) first[l] += static_cast<C>(dy[l]);
      }
      const auto give = [](C& out, bool accumulate, C sum) { out = (accumulate ? out : C(0)) + sum; };
      const C input_bias = a.input_bias ? a.input_bias.as<C, 1>()(d) : C(0);
      C tail = sum_lanes<C>(total), dinput_bias = 0;
      if (a.dbias) give(a.dbias.as<C, 1>()(d), a.accumulate_bias, tail);
      for (int64_t lag = 0; lag < taps; ++lag) {
        const int64_t tap = taps - 1 - lag;
        const C sum = sum_lanes<C>(dweight[lag]) + input_bias * tail;
        if (a.dweight) give(a.dweight.as<C, 2>()(d, tap), a.accumulate_weight, sum);
        dinput_bias += a.weight.as<C, 2>()(d, tap) * tail;
        tail -= first[lag];
      }
      if (a.dinput_bias) give(a.dinput_bias.as<C, 1>()(d), a.accumulate_input_bias, dinput_bias);
    }
  });
}

}  // namespace

void short_conv_forward(Stream&, const ShortConvForward& a) {
  dispatch_float(a.u.dtype,
                 [&]<class T>() { with_taps(a.weight.size(1), [&]<int kTaps>() { forward<kTaps, T>(a); }); });
}

void short_conv_backward(Stream&, const ShortConvBackward& a) {
  dispatch_float(a.u.dtype,
                 [&]<class T>() { with_taps(a.weight.size(1), [&]<int kTaps>() { backward<kTaps, T>(a); }); });
}

}  // namespace mara::kernels::cpu
