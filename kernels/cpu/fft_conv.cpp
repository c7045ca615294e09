#include "kernels/fft_conv.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "core/stream.h"
#include "kernels/cpu/direct_conv.h"
#include "kernels/cpu/fft_transform.h"
#include "kernels/kernels.h"

namespace mara::kernels::cpu {
namespace {

/// The filters and the skip of a channel as one two-sided kernel, which serves every form:
/// c[l] = sum_lag h[lag] x[l - lag], -L < lag < L; a circular convolution has h[j] = h[j - L] = k[j].
class Lags {
 public:
  const int64_t length;  // L
  const ConvForm form;
  const View k, k_reverse, skip;

  template <class Args>
  explicit Lags(const Args& a) : length(a.u.size(2)), form(a.form), k(a.k), k_reverse(a.k_reverse), skip(a.skip) {}

  bool two_sided() const { return k_reverse || form == ConvForm::circular; }

  /// Adds channel d to h; h[0] is lag 0.
  template <class C>
  void gather(int64_t d, C* h) const {
    for_each_tap<C>(k, d, [&](int64_t j, const C& tap) { h[j] += tap; });
    for_each_tap<C>(k_reverse, d, [&](int64_t j, const C& tap) { h[-j] += tap; });
    if (skip) h[0] += skip.ptr<C>()[d * skip.stride[0]];
    fold(h);
  }

  /// Hands the gradient of h, which is spent, to the filters and the skip of channel d.
  template <class C>
  void scatter(int64_t d, C* dh, const FftConvBackward& a) const {
    fold(dh);
    clear<C>(a.dk, d, a.accumulate_k);
    clear<C>(a.dk_reverse, d, a.accumulate_k_reverse);
    for_each_tap<C>(a.dk, d, [&](int64_t j, C& tap) { tap += dh[j]; });
    for_each_tap<C>(a.dk_reverse, d, [&](int64_t j, C& tap) { tap += dh[-j]; });
    if (a.dskip) {
      C& out = a.dskip.ptr<C>()[d * a.dskip.stride[0]];
      out = (a.accumulate_skip ? out : C(0)) + dh[0];
    }
  }

 private:
  // Calls body(j, tap) for every tap of channel d that acts, at lag j or -j.
  template <class C, class Body>
  void for_each_tap(const View& filter, int64_t d, const Body& body) const {
    if (!filter) return;
    const int64_t used = form == ConvForm::circular ? filter.size(1) : std::min(filter.size(1), length);
    for (int64_t start = 0; start < used; start += length) {
      C* tap = filter.ptr<C>() + d * filter.stride[0] + start * filter.stride[1];
      for (int64_t j = 0, end = std::min(length, used - start); j < end; ++j) body(j, tap[j * filter.stride[1]]);
    }
  }
  template <class C>
  static void clear(const View& filter, int64_t d, bool keep) {
    if (!filter || keep) return;
    for (int64_t j = 0; j < filter.size(1); ++j) filter.ptr<C>()[d * filter.stride[0] + j * filter.stride[1]] = 0;
  }
  // In a circle, lags j and j - L are one.
  template <class C>
  void fold(C* h) const {
    for (int64_t j = 1; form == ConvForm::circular && j < length; ++j) h[j] = h[j - length] = h[j] + h[j - length];
  }
};

/// Rows that are worked on together: `per_channel` from `batch` on, of each of a few channels.
struct Group {
  int64_t channel, channels, batch, per_channel, rows;
};

/// Cuts (D, B) into units of work, each of whole channels.
struct Units {
  int64_t channels, batches, rows, per_channel, per_unit;

  /// Groups of `rows`, of several channels where the batch is smaller and `mixed` allows it.
  Units(const View& u, int64_t rows, bool mixed)
      : channels(u.size(0)),
        batches(u.size(1)),
        rows(rows),
        per_channel(mixed ? std::clamp<int64_t>(batches, 1, rows) : rows),
        per_unit(rows / per_channel) {}

  int64_t count() const { return (channels + per_unit - 1) / per_unit; }
  template <class Body>
  void for_each_group(int64_t unit, const Body& body) const {
    for (int64_t b = 0; b < batches; b += per_channel) body(group(unit, b));
  }
  Group group(int64_t unit, int64_t batch = 0) const {
    return {unit * per_unit, std::min(per_unit, channels - unit * per_unit), batch, per_channel, rows};
  }
};

/// The rows of a group in one tensor, read and written by vectors. Rows beyond the tensor read 0.
template <class T>
class Rows {
  using C = Compute<T>;
  using V = Vec<C>;

 public:
  explicit Rows(const View& view) : view_(view) {}
  explicit operator bool() const { return static_cast<bool>(view_); }

  void move_to(const Group& group) {
    if (!view_) return;
    int64_t row = 0;
    for (int64_t d = group.channel; d < group.channel + group.channels; ++d) {
      for (int64_t b = group.batch; b < group.batch + group.per_channel; ++b, ++row) {
        row_[row] = b < view_.size(1) ? view_.ptr<T>() + d * view_.stride[0] + b * view_.stride[1] : nullptr;
      }
    }
    for (; row < group.rows; ++row) row_[row] = nullptr;
  }
  MARA_INLINE V load(int64_t row, int64_t m) const {
    const int64_t start = m * kLanes<C>;
    return row_[row] == nullptr ? V{} : cpu::load(row_[row] + start, view_.size(2) - start);
  }
  MARA_INLINE void store(int64_t row, int64_t m, V value) const {
    const int64_t start = m * kLanes<C>;
    if (row_[row] != nullptr) cpu::store(row_[row] + start, value, view_.size(2) - start);
  }
  /// Asks for a square's share of the row that is `ahead` of the first: a transform reads and writes a row at too many
  /// places at once for the hardware to foresee.
  MARA_INLINE void prefetch(int64_t tile, int64_t ahead) const {
    if (!view_) return;
    constexpr int64_t kBytes = kLanes<C> * kLanes<C> * static_cast<int64_t>(sizeof(T));
    const char* from = reinterpret_cast<const char*>(row_[0] + ahead * view_.stride[1]) + tile * kBytes;
    for (int64_t i = 0; i < kBytes; i += 64) __builtin_prefetch(from + i);
  }
  /// value * these rows, or value where they are absent.
  MARA_INLINE V times(V value, int64_t row, int64_t m) const { return view_ ? value * load(row, m) : value; }

 private:
  View view_;
  std::array<T*, kLanes<C>> row_;
};

/// Product of two tensors, the second of which may be absent, as the source of a transform.
template <class T>
struct Product {
  const Rows<T>&rows, &factor;
  MARA_INLINE auto operator()(int64_t row, int64_t m) const { return factor.times(rows.load(row, m), row, m); }
};

/// Where a transform's result goes: times factor[i] into out[i], each of which may be absent.
template <class T>
struct Results {
  const Rows<T>* out[2];
  const Rows<T>* factor[2];
  MARA_INLINE void operator()(int64_t row, int64_t m, Vec<Compute<T>> value) const {
    if (*out[0]) out[0]->store(row, m, factor[0]->times(value, row, m));
    if (*out[1]) out[1]->store(row, m, factor[1]->times(value, row, m));
  }
};

/// What one thread needs for filters in the transformed domain: work spaces and the steps both directions share.
template <class C>
class Filters {
 public:
  using V = Vec<C>;
  using Plan = RightAngle<C>;
  using Vectors = typename Plan::Vectors;
  using Twiddles = typename Plan::LaneTwiddles;
  static constexpr int kWidth = Plan::kWidth;

  static int64_t bytes(const Plan& plan, const Units& units, int spaces) {
    return spaces * plan.vectors() * static_cast<int64_t>(sizeof(Complex<V>)) +
           units.per_unit * 2 * plan.size() * static_cast<int64_t>(sizeof(C));
  }
  Filters(const Plan& plan, const Units& units, const Lags& lags, char* memory, int spaces)
      : plan_(plan),
        units_(units),
        lags_(lags),
        spaces_(reinterpret_cast<Vectors>(memory)),
        taps_(reinterpret_cast<C*>(spaces_ + spaces * plan.vectors())) {}

  Vectors space(int i) const { return spaces_ + i * plan_.vectors(); }

  /// Transforms the filters of a unit, over n so that no inverse needs to divide.
  void transform(int64_t unit, Vectors spectrum) const {
    const Group group = units_.group(unit);
    std::fill_n(taps_, units_.per_unit * 2 * plan_.size(), C(0));
    for (int64_t i = 0; i < group.channels; ++i) lags_.gather(group.channel + i, lag_zero(i));
    const auto channel = [&](int64_t row) { return std::min(row / group.per_channel, group.channels - 1); };
    if (lags_.two_sided()) {
      plan_.enter(spectrum, [&](int64_t row, int64_t m) {
        const C* h = lag_zero(channel(row)) + m * kWidth;
        return Complex<V>{load(h), -load(h - plan_.size())};
      });
    } else {
      plan_.enter(spectrum, [&](int64_t row, int64_t m) { return load(lag_zero(channel(row)) + m * kWidth); });
    }
    const C scale = C(1) / static_cast<C>(plan_.size());
    plan_.inner({spectrum}, {}, [&](int64_t tile) {
      Twiddles local;
      const Vectors s = spectrum + tile * kWidth;
      Plan::split_lanes(s, plan_.lane_twiddles(tile, local));
      for (int i = 0; i < kWidth; ++i) s[i] = {s[i].re * scale, s[i].im * scale};
    });
  }

  /// The filters' gradients in a unit from sum_b R(g_b) conj R(x_b), which is spent.
  void gradient(int64_t unit, Vectors product, const FftConvBackward& a) const {
    const Group group = units_.group(unit);
    plan_.inner({}, {product}, [&](int64_t tile) {
      Twiddles local;
      Plan::join_lanes(product + tile * kWidth, plan_.lane_twiddles(tile, local));
    });
    const C scale = C(1) / static_cast<C>(plan_.size());
    const auto add = [&](int64_t row, C* to, V value) {
      store(to, row % group.per_channel == 0 ? value * scale : load(to) + value * scale);
    };
    const int64_t used = group.channels * group.per_channel;
    if (lags_.two_sided()) {
      plan_.template leave<false>(product, [&](int64_t row, int64_t m, Complex<V> z) {
        if (row >= used) return;
        C* h = lag_zero(row / group.per_channel) + m * kWidth;
        add(row, h, z.re);
        add(row, h - plan_.size(), -z.im);
      });
    } else {
      plan_.template leave<true>(product, [&](int64_t row, int64_t m, V z) {
        if (row < used) add(row, lag_zero(row / group.per_channel) + m * kWidth, z);
      });
    }
    for (int64_t i = 0; i < group.channels; ++i) lags_.scatter(group.channel + i, lag_zero(i), a);
  }

 private:
  C* lag_zero(int64_t i) const { return taps_ + (2 * i + 1) * plan_.size(); }

  const Plan& plan_;
  const Units& units_;
  const Lags& lags_;
  Vectors spaces_;
  C* taps_;  // 2 n of each channel of a unit, from lag -n on
};

/// Runs body(plan, units, unit, filters) for all units, with work spaces for each thread.
template <class C, class Args, class Body>
void for_each_unit(Stream& stream, const Args& a, int spaces, const Body& body) {
  const auto& plan = RightAngle<C>::of(a.u.size(2));
  const Lags lags(a);
  const Units units(a.u, plan.rows(), true);
  const int64_t bytes = (Filters<C>::bytes(plan, units, spaces) + 4095) / 4096 * 4096;
  const auto memory = stream.scratch<char>(bytes * thread_count());
  const int64_t grain = grain_for(plan.size() * std::max(units.batches, units.per_channel) * units.per_unit);
  parallel_chunks(units.count(), grain, [&](int64_t begin, int64_t end) {
    const Filters<C> filters(plan, units, lags, memory + omp_get_thread_num() * bytes, spaces);
    for (int64_t unit = begin; unit < end; ++unit) body(plan, units, unit, filters);
  });
}

template <class T>
void forward(Stream& stream, const FftConvForward& a) {
  using C = Compute<T>;
  using Plan = RightAngle<C>;
  using Value = Complex<Vec<C>>;
  for_each_unit<C>(stream, a, 2, [&](const Plan& plan, const Units& units, int64_t unit, const Filters<C>& filters) {
    const auto spectrum = filters.space(0), x = filters.space(1);
    Rows<T> u(a.u), gate_in(a.gate_in), gate_out(a.gate_out), y(a.y), none({});
    filters.transform(unit, spectrum);
    units.for_each_group(unit, [&](const Group& group) {
      for (auto* rows : {&u, &gate_in, &gate_out, &y}) rows->move_to(group);
      plan.enter(x, Product<T>{u, gate_in});
      plan.inner({x}, {x}, [&](int64_t tile) {
        typename Plan::LaneTwiddles local;
        const Value* s = spectrum + tile * Plan::kWidth;
        for (auto* rows : {&gate_out, &y}) rows->prefetch(tile, 0);
        for (auto* rows : {&u, &gate_in}) rows->prefetch(tile, group.per_channel);
        Plan::through_lanes(x + tile * Plan::kWidth, plan.lane_twiddles(tile, local),
                            [&](int i, Value v) { return mul(v, s[i]); });
      });
      plan.template leave<true>(x, Results<T>{{&y, &none}, {&gate_out, &none}});
    });
  });
}

template <class T>
void backward(Stream& stream, const FftConvBackward& a) {
  using C = Compute<T>;
  using Plan = RightAngle<C>;
  using Value = Complex<Vec<C>>;
  const bool wants_dx = a.du || a.dgate_in, wants_c = static_cast<bool>(a.dgate_out);
  const bool wants_dh = a.dk || a.dk_reverse || a.dskip;
  for_each_unit<C>(stream, a, 4, [&](const Plan& plan, const Units& units, int64_t unit, const Filters<C>& filters) {
    const auto spectrum = filters.space(0), x = filters.space(1), g = filters.space(2), product = filters.space(3);
    Rows<T> dy(a.dy), u(a.u), gate_in(a.gate_in), gate_out(a.gate_out), none({});
    Rows<T> du(a.du), dgate_in(a.dgate_in), dgate_out(a.dgate_out);
    filters.transform(unit, spectrum);
    std::memset(static_cast<void*>(product), 0, static_cast<size_t>(plan.vectors()) * sizeof *product);
    units.for_each_group(unit, [&](const Group& group) {
      for (auto* rows : {&dy, &u, &gate_in, &gate_out, &du, &dgate_in, &dgate_out}) rows->move_to(group);
      plan.enter(x, Product<T>{u, gate_in});
      plan.enter(g, Product<T>{dy, gate_out});
      const auto tile = [&](int64_t index) {
        typename Plan::LaneTwiddles local;
        const Value* w = plan.lane_twiddles(index, local);
        const int64_t first = index * Plan::kWidth;
        Value *tx = x + first, *p = product + first;
        const Value* s = spectrum + first;
        for (auto* rows : {&du, &dgate_in, &dgate_out}) rows->prefetch(index, 0);
        for (auto* rows : {&dy, &u, &gate_in, &gate_out}) rows->prefetch(index, group.per_channel);
        Plan::split_lanes(tx, w);
        Plan::through_lanes(g + first, w, [&](int i, Value v) {
          p[i] = p[i] + mul_conj(v, tx[i]);
          if (wants_c) tx[i] = mul(tx[i], s[i]);
          return mul_conj(v, s[i]);
        });
        if (wants_c) Plan::join_lanes(tx, w);
      };
      if (wants_dx && wants_c) {
        plan.inner({x, g}, {x, g}, tile);
      } else if (wants_dx) {
        plan.inner({x, g}, {g}, tile);
      } else if (wants_c) {
        plan.inner({x, g}, {x}, tile);
      } else {
        plan.inner({x, g}, {}, tile);
      }
      if (wants_dx) plan.template leave<true>(g, Results<T>{{&du, &dgate_in}, {&gate_in, &u}});
      if (wants_c) plan.template leave<true>(x, Results<T>{{&dgate_out, &none}, {&dy, &none}});
    });
    if (wants_dh) filters.gradient(unit, product, a);
  });
}

/// The direct form beats the transforms on rows up to this length, half of it for two-sided kernels, if at least half
/// of its lanes are filled.
constexpr int64_t kDirectLength = 96;
template <class C, class Args>
bool short_rows(const Args& a) {
  const int64_t longest = Lags(a).two_sided() ? kDirectLength / 2 : kDirectLength;
  return a.u.size(2) <= longest && 2 * a.u.size(1) >= kLanes<C>;
}

/// What one thread needs for the direct form: taps h and their gradient dh by lag, and three work spaces.
template <class C>
struct ShortRows {
  using V = Vec<C>;
  static constexpr int64_t kSteps = (kDirectLength + kLanes<C> - 1) / kLanes<C> * kLanes<C>;

  V x[kSteps], g[kSteps], c[kSteps];
  C taps[2 * kSteps];
  V gradient[2 * kSteps];

  C* h() { return taps + kSteps; }
  V* dh() { return gradient + kSteps; }
};

/// Runs body(direct, units, channel, work) for all channels, with the channel's taps in work.h().
template <class C, class Args, class Body>
void for_each_channel(Stream& stream, const Args& a, const Lags& lags, const Body& body) {
  const DirectConv<C> direct(lags.length, lags.two_sided());
  const Units units(a.u, kLanes<C>, false);
  const auto memory = stream.scratch<ShortRows<C>>(thread_count());
  parallel_chunks(units.channels, grain_for(units.batches * lags.length, 4096), [&](int64_t begin, int64_t end) {
    ShortRows<C>& work = memory.get()[omp_get_thread_num()];
    for (int64_t d = begin; d < end; ++d) {
      std::fill(work.h() + direct.first_lag(), work.h() + direct.end_lag(), C(0));
      lags.gather(d, work.h());
      body(direct, units, d, work);
    }
  });
}

template <class T>
void forward_short(Stream& stream, const FftConvForward& a) {
  using C = Compute<T>;
  using Direct = DirectConv<C>;
  const Lags lags(a);
  for_each_channel<C>(stream, a, lags, [&](const Direct& direct, const Units& units, int64_t d, ShortRows<C>& work) {
    Rows<T> u(a.u), gate_in(a.gate_in), gate_out(a.gate_out), y(a.y), none({});
    units.for_each_group(d, [&](const Group& group) {
      for (auto* rows : {&u, &gate_in, &gate_out, &y}) rows->move_to(group);
      direct.read(work.x, Product<T>{u, gate_in});
      direct.template convolve<false>(work.h(), work.x, work.c);
      direct.write(work.c, Results<T>{{&y, &none}, {&gate_out, &none}});
    });
  });
}

template <class T>
void backward_short(Stream& stream, const FftConvBackward& a) {
  using C = Compute<T>;
  using Direct = DirectConv<C>;
  const bool wants_dx = a.du || a.dgate_in, wants_dh = a.dk || a.dk_reverse || a.dskip;
  const Lags lags(a);
  for_each_channel<C>(stream, a, lags, [&](const Direct& direct, const Units& units, int64_t d, ShortRows<C>& work) {
    Rows<T> dy(a.dy), u(a.u), gate_in(a.gate_in), gate_out(a.gate_out), none({});
    Rows<T> du(a.du), dgate_in(a.dgate_in), dgate_out(a.dgate_out);
    std::fill(work.dh() + direct.first_lag(), work.dh() + direct.end_lag(), Vec<C>{});
    units.for_each_group(d, [&](const Group& group) {
      for (auto* rows : {&dy, &u, &gate_in, &gate_out, &du, &dgate_in, &dgate_out}) rows->move_to(group);
      direct.read(work.x, Product<T>{u, gate_in});
      direct.read(work.g, Product<T>{dy, gate_out});
      if (wants_dh) direct.correlate(work.g, work.x, work.dh());
      if (wants_dx) {
        direct.template convolve<true>(work.h(), work.g, work.c);
        direct.write(work.c, Results<T>{{&du, &dgate_in}, {&gate_in, &u}});
      }
      if (dgate_out) {
        direct.template convolve<false>(work.h(), work.x, work.c);
        direct.write(work.c, Results<T>{{&dgate_out, &none}, {&dy, &none}});
      }
    });
    if (!wants_dh) return;
    for (int64_t lag = direct.first_lag(); lag < direct.end_lag(); ++lag) work.h()[lag] = sum_lanes<C>(work.dh()[lag]);
    lags.scatter(d, work.h(), a);
  });
}

}  // namespace

void fft_conv_forward(Stream& stream, const FftConvForward& a) {
  dispatch_float(a.u.dtype,
                 [&]<class T>() { short_rows<Compute<T>>(a) ? forward_short<T>(stream, a) : forward<T>(stream, a); });
}

void fft_conv_backward(Stream& stream, const FftConvBackward& a) {
  dispatch_float(a.u.dtype,
                 [&]<class T>() { short_rows<Compute<T>>(a) ? backward_short<T>(stream, a) : backward<T>(stream, a); });
}

}  // namespace mara::kernels::cpu
