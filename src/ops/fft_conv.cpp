#include "ops/fft_conv.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>
#include <utility>

#include "kernels/kernels.h"
#include "ops/elementwise.h"
#include "ops/gather.h"
#include "ops/grad_target.h"
#include "ops/matmul.h"
#include "ops/reduce.h"
#include "ops/shape_ops.h"

namespace mara::ops {
namespace {

void check_filter(const char* name, const Tensor& filter, const Tensor& u) {
  MARA_CHECK(filter.rank() == 2 && filter.contiguous() && filter.size(1) >= 1, "fft_conv: ", name,
             " must be contiguous (D, K) with at least one tap, got ", filter.shape());
  MARA_CHECK(filter.size(0) == u.size(0), "fft_conv: ", name, " has ", filter.size(0), " channels, u has ", u.size(0),
             "; make one filter per channel of u (D, B, L)");
  MARA_CHECK(filter.dtype() == compute_dtype(u.dtype()), "fft_conv: ", name, " must be ", compute_dtype(u.dtype()),
             " for an input of ", u.dtype(), ", got ", filter.dtype());
}

void check_gate(const char* name, const Tensor& gate, const Tensor& u) {
  MARA_CHECK(gate.shape() == u.shape() && gate.dtype() == u.dtype() && gate.contiguous(), "fft_conv: ", name,
             " must have u's shape ", u.shape(), " and dtype ", u.dtype(), ", got ", gate.shape(), " ", gate.dtype());
}

Tensor with_past(const Tensor& u, const Tensor& filter, const FftConvOptions& options) {
  const Tensor& past = options.past;
  MARA_CHECK(past.rank() == 3 && past.size(0) == u.size(0) && past.size(1) == u.size(1) && past.dtype() == u.dtype(),
             "fft_conv: past must be (", u.size(0), ", ", u.size(1), ", S) ", u.dtype(), ", got ", past.shape(), " ",
             past.dtype());
  MARA_CHECK(options.form == ConvForm::causal && !options.reverse.defined(),
             "fft_conv: past is for causal convolutions without a reverse filter, which alone have an order of inputs");
  if (options.gate_in.defined()) check_gate("gate_in", options.gate_in, u);
  if (options.gate_out.defined()) check_gate("gate_out", options.gate_out, u);
  // Up to 7 more than the K - 1 that are felt, for rows that start at multiples of 16 bytes.
  const int64_t count = std::min(past.size(2), (filter.size(1) + 6) / 8 * 8);
  const Tensor x = options.gate_in.defined() ? mul(u, options.gate_in) : u;
  const Tensor all = concat({slice(past, 2, past.size(2) - count, count), x}, 2);
  const Tensor c = contiguous(slice(fft_conv(all, filter, {.skip = options.skip}), 2, count, u.size(2)));
  return options.gate_out.defined() ? mul(c, options.gate_out) : c;
}

/// Runs [first, last) of bins that are kept.
std::vector<std::pair<int64_t, int64_t>> runs(const std::vector<bool>& keep) {
  std::vector<std::pair<int64_t, int64_t>> found;
  for (int64_t first = 0; first < std::ssize(keep); ++first) {
    if (!keep[first]) continue;
    int64_t last = first;
    while (last < std::ssize(keep) && keep[last]) ++last;
    found.emplace_back(first, last);
    first = last;
  }
  return found;
}

/// sum_f cos(2 pi (f - quarters / 4) n / period) over first <= f < last, n not a multiple of the period: with
/// a = 2 pi n / period it is [sin((last - quarters / 4 - 1/2) a) - sin((first - quarters / 4 - 1/2) a)] / 2 sin(a / 2).
double sum_of_cosines(int64_t first, int64_t last, int64_t quarters, int64_t n, int64_t period) {
  const auto sine = [&](int64_t units) {  // of 1 / (4 period)
    return std::sin(std::numbers::pi * static_cast<double>(units % (4 * period)) / static_cast<double>(2 * period));
  };
  return (sine((4 * last - quarters - 2) * n) - sine((4 * first - quarters - 2) * n)) / (2 * sine(2 * n));
}

/// sum_k cos(2 pi k n / 2L) / 2L over the kept bins of -L < k <= L, (1, 2L).
std::vector<double> response(const std::vector<bool>& keep) {
  const int64_t length = std::ssize(keep) - 1, period = 2 * length;
  std::vector<double> sum(static_cast<size_t>(period), keep[0] ? 1.0 : 0.0);
  for (int64_t n = 0; keep[length] && n < period; ++n) sum[n] += n % 2 == 0 ? 1 : -1;
  std::vector<bool> inner = keep;  // which stand for their negatives too
  inner[0] = inner[length] = false;
  for (const auto& [first, last] : runs(inner)) {
    sum[0] += 2 * static_cast<double>(last - first);
    for (int64_t n = 1; n < period; ++n) sum[n] += 2 * sum_of_cosines(first, last, 0, n, period);
  }
  for (double& value : sum) value /= static_cast<double>(period);
  return sum;
}

/// What a convolution of (D, 2L) lags from -L to L - 1 is to `fft_conv`.
TwoSidedFilter two_sided(const Tensor& lags) {
  const int64_t length = lags.size(1) / 2;
  std::vector<int32_t> behind(static_cast<size_t>(length));  // -1, -2, ...
  std::iota(behind.rbegin(), behind.rend(), 0);
  return {contiguous(slice(lags, 1, length, length)),
          shifted_by_one(gather(lags, 1, Tensor::from(behind, {length}, lags.device())))};
}

}  // namespace

Tensor fft_conv(const Tensor& u, const Tensor& filter, const FftConvOptions& options) {
  MARA_CHECK(u.rank() == 3 && u.contiguous() && u.numel() > 0 && is_float(u.dtype()),
             "fft_conv: u must be contiguous floating (D, B, L), got ", u.shape(), " ", u.dtype());
  check_filter("filter", filter, u);
  if (options.past.defined()) return with_past(u, filter, options);
  const auto& [reverse, skip, gate_in, gate_out, form, past] = options;
  if (reverse.defined()) check_filter("reverse filter", reverse, u);
  MARA_CHECK(!skip.defined() || (skip.shape() == Shape{u.size(0)} && skip.dtype() == filter.dtype()),
             "fft_conv: skip must be (", u.size(0), ") ", filter.dtype(), ", got ", skip.shape(), " ", skip.dtype());
  if (gate_in.defined()) check_gate("gate_in", gate_in, u);
  if (gate_out.defined()) check_gate("gate_out", gate_out, u);

  Tensor y = Tensor::empty_like(u);
  auto [k, stream] = kernels::on(u.device());
  k.fft_conv_forward(stream, {.u = u.view(),
                              .k = filter.view(),
                              .k_reverse = reverse.view(),
                              .skip = skip.view(),
                              .gate_in = gate_in.view(),
                              .gate_out = gate_out.view(),
                              .y = y.view(),
                              .form = form});
  return record("fft_conv", {u, filter, reverse, skip, gate_in, gate_out}, y,
                [u, filter, options](const Tensor& dy, Grads& g) {
                  GradTarget du(g, 0, u), dgate_in(g, 4, options.gate_in), dgate_out(g, 5, options.gate_out);
                  const Grads::Slot dk = slot_if_wanted(g, 1, filter);
                  const Grads::Slot dreverse = slot_if_wanted(g, 2, options.reverse);
                  const Grads::Slot dskip = slot_if_wanted(g, 3, options.skip);
                  auto [k, stream] = kernels::on(u.device());
                  k.fft_conv_backward(stream, {.dy = dy.view(),
                                               .u = u.view(),
                                               .k = filter.view(),
                                               .k_reverse = options.reverse.view(),
                                               .skip = options.skip.view(),
                                               .gate_in = options.gate_in.view(),
                                               .gate_out = options.gate_out.view(),
                                               .du = du.view(),
                                               .dgate_in = dgate_in.view(),
                                               .dgate_out = dgate_out.view(),
                                               .dk = dk.dst,
                                               .dk_reverse = dreverse.dst,
                                               .dskip = dskip.dst,
                                               .accumulate_k = dk.accumulate,
                                               .accumulate_k_reverse = dreverse.accumulate,
                                               .accumulate_skip = dskip.accumulate,
                                               .form = options.form});
                  du.commit();
                  dgate_in.commit();
                  dgate_out.commit();
                });
}

Tensor fft_conv_packed(const Tensor& u, const Tensor& filter, std::span<const int64_t> starts,
                       const FftConvOptions& options) {
  MARA_CHECK(u.rank() == 3 && u.numel() > 0, "fft_conv_packed: u must be (D, B, L), got ", u.shape());
  if (options.gate_in.defined()) check_gate("gate_in", options.gate_in, u);
  if (options.gate_out.defined()) check_gate("gate_out", options.gate_out, u);
  MARA_CHECK(options.form == ConvForm::causal && !options.past.defined(),
             "fft_conv_packed: documents take causal filters, with or without a reverse filter, and no past");
  const int64_t channels = u.size(0), length = u.size(2), total = u.size(1) * length;
  std::vector<int64_t> edges(starts.begin(), starts.end());
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  MARA_CHECK(total <= kMost, "fft_conv_packed: fewer than 2^31 positions are required, got ", total);
  MARA_CHECK(std::ranges::is_sorted(edges) && (edges.empty() || (edges.front() >= 0 && edges.back() < total)),
             "fft_conv_packed: starts must be ascending and within [0, ", total, "), got ", edges.size(), " from ",
             edges.front(), " to ", edges.back());
  for (int64_t row = 0; row <= total; row += length) edges.push_back(row);
  std::ranges::sort(edges);
  edges.erase(std::ranges::unique(edges).begin(), edges.end());

  constexpr int64_t kShortest = 16;                      // rows that documents are padded to
  std::map<int64_t, std::vector<int64_t>> documents_of;  // by the length of their rows
  for (size_t i = 0; i + 1 < edges.size(); ++i) {
    const auto padded = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(edges[i + 1] - edges[i])));
    documents_of[std::max(padded, kShortest)].push_back(static_cast<int64_t>(i));
  }
  const auto with_zero = [&](const Tensor& all) {
    return all.defined() ? concat({all.reshape({channels, total}), full({channels, 1}, 0, u.dtype(), u.device())}, 1)
                         : all;
  };
  const Tensor flat = with_zero(u), gate_in = with_zero(options.gate_in), gate_out = with_zero(options.gate_out);
  std::vector<Tensor> results;
  std::vector<int32_t> found(static_cast<size_t>(total));  // where the results hold a position
  int64_t filled = 0;
  for (const auto& [padded, documents] : documents_of) {
    const auto count = std::ssize(documents);
    MARA_CHECK(filled + count * padded <= kMost,
               "fft_conv_packed: padded documents must have fewer than 2^31 positions, got ", filled + count * padded,
               " and more of ", total, "; take fewer rows at a time");
    std::vector<int32_t> taken(static_cast<size_t>(count * padded), static_cast<int32_t>(total));
    for (int64_t row = 0; row < count; ++row) {
      const int64_t begin = edges[documents[row]], end = edges[documents[row] + 1];
      std::iota(taken.begin() + row * padded, taken.begin() + row * padded + end - begin, static_cast<int32_t>(begin));
      std::iota(found.begin() + begin, found.begin() + end, static_cast<int32_t>(filled + row * padded));
    }
    const Tensor index = Tensor::from(taken, {count * padded}, u.device());
    const auto rows = [&](const Tensor& all) {
      return all.defined() ? gather(all, 1, index).reshape({channels, count, padded}) : all;
    };
    const Tensor y = fft_conv(
        rows(flat), filter,
        {.reverse = options.reverse, .skip = options.skip, .gate_in = rows(gate_in), .gate_out = rows(gate_out)});
    results.push_back(y.reshape({channels, count * padded}));
    filled += count * padded;
  }
  return gather(concat(results, 1), 1, Tensor::from(found, {total}, u.device())).reshape(u.shape());
}

Tensor shifted_by_one(const Tensor& taps) {
  const Tensor zero = full({taps.size(0), 1}, 0, taps.dtype(), taps.device());
  return concat({zero, slice(taps, 1, 0, taps.size(1) - 1)}, 1);
}

TwoSidedFilter frequency_masked(const Tensor& filter, const std::vector<bool>& keep) {
  const int64_t length = std::ssize(keep) - 1;
  MARA_CHECK(filter.rank() == 2 && filter.size(1) <= length,
             "frequency_masked: the filter must be (D, K) with K up to ", length, " for a mask of ", keep.size(),
             " bins, one more than there are positions in a row; got ", filter.shape());
  const int64_t channels = filter.size(0), period = 2 * length;
  const auto zeros = [&](int64_t count) { return full({channels, count}, 0, filter.dtype(), filter.device()); };
  const Tensor padded = concat({zeros(length), filter, zeros(length - filter.size(1))}, 1);
  const Tensor mask = Tensor::from(response(keep), {1, period}, filter.dtype(), filter.device());
  return two_sided(
      fft_conv(padded.reshape({1, channels, period}), mask, {.form = ConvForm::circular}).reshape({channels, period}));
}

TwoSidedFilter monarch_masked(const Tensor& filter, int64_t length, const std::vector<bool>& keep) {
  MARA_CHECK(!keep.empty() && length > 0 && length % std::ssize(keep) == 0,
             "monarch_masked: a mask must have a number of digits that divides the length of rows, ", length, "; got ",
             keep.size());
  MARA_CHECK(filter.rank() == 2 && filter.size(1) <= length, "monarch_masked: the filter must be (D, K) with K up to ",
             length, ", got ", filter.shape());
  // c is the filter times sum_f e((f - 1/4) n / L) / L over the kept f, of which two-sided lags take the real part.
  const int64_t channels = filter.size(0), bins = length / std::ssize(keep);
  const auto kept = runs(keep);
  const auto response = [&](int64_t n) {  // of 0 <= n < 2 L; at L all are a quarter turn off
    double sum = 0;
    for (const auto& [first, last] : kept) {
      if (n == 0) sum += static_cast<double>((last - first) * bins);
      if (n % length != 0) sum += sum_of_cosines(first * bins, last * bins, 1, n, length);
    }
    return sum / static_cast<double>(length);
  };
  std::vector<double> ahead(static_cast<size_t>(2 * length)), behind(static_cast<size_t>(length));
  for (int64_t n = 0; n < 2 * length; ++n) ahead[n] = response(std::abs(n - length));
  for (int64_t n = 1; n < length; ++n) behind[n] = response(n + length);
  const auto taps = [&](const std::vector<double>& values) {
    return Tensor::from(values, {1, std::ssize(values)}, filter.dtype(), filter.device());
  };
  const Tensor zeros = full({channels, 2 * length - filter.size(1)}, 0, filter.dtype(), filter.device());
  return two_sided(
      fft_conv(concat({filter, zeros}, 1).reshape({1, channels, 2 * length}), taps(ahead), {.reverse = taps(behind)})
          .reshape({channels, 2 * length}));
}

Tensor fft_conv_composed(const Tensor& u, const Tensor& filter, const FftConvOptions& options) {
  const int64_t channels = u.size(0), length = u.size(2);
  const Tensor x = options.gate_in.defined() ? mul(u, options.gate_in) : u;
  // The matrix T[d, m, l] = filter[d, l - m] is a gather from the filter with a zero appended (entry K).
  const auto toeplitz = [&](const Tensor& taps, bool reverse) {
    const int64_t count = taps.size(1);
    const Tensor zero = full({channels, 1}, 0, taps.dtype(), taps.device());
    const Tensor padded = concat({taps, zero}, 1);
    Tensor sum;
    const int64_t wraps = options.form == ConvForm::circular ? (count + length - 1) / length : 1;
    for (int64_t wrap = 0; wrap < wraps; ++wrap) {
      std::vector<int32_t> index;
      for (int64_t m = 0; m < length; ++m) {
        for (int64_t l = 0; l < length; ++l) {
          int64_t lag = reverse ? m - l : l - m;
          if (options.form == ConvForm::circular) lag = (lag + length) % length + wrap * length;
          index.push_back(static_cast<int32_t>(lag >= 0 && lag < count ? lag : count));
        }
      }
      const Tensor picked =
          gather(padded, 1, Tensor::from(index, {length * length}, u.device())).reshape({channels, length, length});
      sum = sum.defined() ? add(sum, picked) : picked;
    }
    return sum;
  };
  Tensor matrix = toeplitz(filter, false);
  if (options.reverse.defined()) matrix = add(matrix, toeplitz(options.reverse, true));
  Tensor c = matmul(x, matrix);
  if (options.skip.defined()) {
    const Tensor channels_last = mul(contiguous(permute(x, {1, 2, 0})), options.skip);
    c = add(c, contiguous(permute(channels_last, {2, 0, 1})));
  }
  return options.gate_out.defined() ? mul(c, options.gate_out) : c;
}

}  // namespace mara::ops
