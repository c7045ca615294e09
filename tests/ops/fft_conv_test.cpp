#include "ops/fft_conv.h"

#include <gtest/gtest.h>

#include <complex>
#include <numbers>

#include "op_cases.h"

namespace mara {
namespace {

using In = std::vector<Tensor>;
using Convolution = Tensor (*)(const Tensor&, const Tensor&, const ops::FftConvOptions&);

struct Form {
  int64_t length = 12, taps = 12, reverse = 0;  // reverse 0: none
  bool skip = false, gate_in = false, gate_out = false, circular = false;
};

OpCase convolution(const Form& f, Convolution op) {
  const Argument u{{2, 3, f.length}};
  std::string name = "L " + std::to_string(f.length) + " K " + std::to_string(f.taps) + " reverse " +
                     std::to_string(f.reverse) + (f.skip ? " skip" : "") + (f.gate_in ? " gate_in" : "") +
                     (f.gate_out ? " gate_out" : "") + (f.circular ? " circular" : "");
  std::vector<Argument> arguments{u, {{2, f.taps}, Argument::parameter}};
  if (f.reverse > 0) arguments.push_back({{2, f.reverse}, Argument::parameter});
  if (f.skip) arguments.push_back({{2}, Argument::parameter});
  if (f.gate_in) arguments.push_back(u);
  if (f.gate_out) arguments.push_back(u);
  return {name, arguments, [f, op](const In& x) {
            ops::FftConvOptions options{.form = f.circular ? ops::ConvForm::circular : ops::ConvForm::causal};
            size_t next = 2;
            if (f.reverse > 0) options.reverse = x[next++];
            if (f.skip) options.skip = x[next++];
            if (f.gate_in) options.gate_in = x[next++];
            if (f.gate_out) options.gate_out = x[next++];
            return op(x[0], x[1], options);
          }};
}

// Filters shorter, equal and longer; each option alone and all together; causal and circular.
std::vector<Form> forms() {
  std::vector<Form> out;
  for (const bool circular : {false, true}) {
    for (const int64_t taps : {1, 5, 12, 29}) out.push_back({.taps = taps, .circular = circular});
    for (const int64_t reverse : {4, 12, 17}) out.push_back({.reverse = reverse, .circular = circular});
    out.push_back({.taps = 7, .skip = true, .circular = circular});
    out.push_back({.taps = 7, .gate_in = true, .circular = circular});
    out.push_back({.taps = 7, .gate_out = true, .circular = circular});
    for (const int64_t length : {1, 12, 33}) {
      out.push_back({length, 12, 5, true, true, true, circular});
    }
  }
  return out;
}

std::vector<OpCase> cases(Convolution op) {
  std::vector<OpCase> out;
  for (const Form& form : forms()) out.push_back(convolution(form, op));
  return out;
}

// One tensor in several places of the op: their gradients meet.
std::vector<OpCase> tied() {
  const Argument u{{2, 3, 12}}, filter{{2, 7}, Argument::parameter};
  return {{"gated by itself",
           {u, filter},
           [](const In& x) { return ops::fft_conv(x[0], x[1], {.gate_in = x[0], .gate_out = x[0]}); }},
          {"symmetric filter", {u, filter}, [](const In& x) { return ops::fft_conv(x[0], x[1], {.reverse = x[1]}); }},
          {"parts of one projection", {{{6, 3, 12}}, filter}, [](const In& x) {
             return ops::fft_conv(x[0].narrow(4, 2), x[1],
                                  {.gate_in = x[0].narrow(2, 2), .gate_out = x[0].narrow(0, 2)});
           }}};
}

class FftConvOps : public OnDevice {};
MARA_ON_EVERY_DEVICE(FftConvOps);

TEST(FftConvGradients, MatchDifferences) {
  check_gradients(cases(ops::fft_conv));
  check_gradients(tied());
}
TEST(FftConvGradients, OfTheComposedFormMatchDifferences) {
  check_gradients({convolution({12, 29, 17, true, true, true, true}, ops::fft_conv_composed)});
}
TEST_P(FftConvOps, MatchF64) {
  check_precision(cases(ops::fft_conv), device());
  check_precision(tied(), device());
}
// Layers count lags of their reverse filter from -1.
TEST_P(FftConvOps, SSM_G10_shifted_by_one) {
  const auto row = [&](const Values& values) { return Tensor::from(values, {1, 4}, Dtype::f32, device()); };
  const Tensor reverse = ops::shifted_by_one(row({.1, .2, .3, .4}));
  EXPECT_LT(relative_error(reverse.to_host(), {0, .1, .2, .3}), 1e-6);
  const Tensor y = ops::fft_conv(row({1, 0, 0, 2}).reshape({1, 1, 4}), row({1, .5, .25, .125}), {.reverse = reverse});
  EXPECT_LT(relative_error(y.to_host(), {1.6, .9, .45, 2.125}), tolerance(Dtype::f32));
}

// A sequence in two pieces, the second with the inputs that its taps reach in the first, or more.
std::vector<OpCase> pieces() {
  std::vector<OpCase> out;
  for (const int64_t taps : {1, 5, 10, 29}) {
    for (const bool all : {false, true}) {
      const int64_t first = 9, second = 7, seen = all ? first : std::min(taps - 1, first);
      out.push_back(
          {detail::join({"K ", taps, " past ", seen}),
           {{{2, 3, first + second}},
            {{2, taps}, Argument::parameter},
            {{2}, Argument::parameter},
            {{2, 3, first + second}},
            {{2, 3, first + second}}},
           [=](const In& x) {
             const auto part = [&](int input, int64_t start, int64_t count) {
               return ops::contiguous(ops::slice(x[input], 2, start, count));
             };
             const auto piece = [&](int64_t start, int64_t count, const Tensor& past) {
               return ops::fft_conv(
                   part(0, start, count), x[1],
                   {.skip = x[2], .gate_in = part(3, start, count), .gate_out = part(4, start, count), .past = past});
             };
             const Tensor past = ops::mul(part(0, first - seen, seen), part(3, first - seen, seen));
             return ops::concat({piece(0, first, {}), piece(first, second, past)}, 2);
           }});
    }
  }
  return out;
}

TEST(FftConvGradients, OfPiecesMatchDifferences) { check_gradients(pieces()); }
TEST_P(FftConvOps, PiecesAreTheWhole) {
  for (const OpCase& c : pieces()) {
    const auto whole = [](const In& x) {
      return ops::fft_conv(x[0], x[1], {.skip = x[2], .gate_in = x[3], .gate_out = x[4]});
    };
    check_same(c, whole, device());
  }
  check_precision(pieces(), device());
}
TEST_P(FftConvOps, PastMustFit) {
  const auto row = [&](const Shape& shape) { return ops::full(shape, 1, Dtype::f32, device()); };
  const Tensor u = row({2, 3, 12}), filter = row({2, 5});
  EXPECT_NO_THROW(ops::fft_conv(u, filter, {.past = row({2, 3, 4})}));
  EXPECT_THROW(ops::fft_conv(u, filter, {.past = row({2, 2, 4})}), Error);
  EXPECT_THROW(ops::fft_conv(u, filter, {.reverse = filter, .past = row({2, 3, 4})}), Error);
  EXPECT_THROW(ops::fft_conv(u, filter, {.form = ops::ConvForm::circular, .past = row({2, 3, 4})}), Error);
}

using PackedConvolution = Tensor (*)(const Tensor&, const Tensor&, std::span<const int64_t>,
                                     const ops::FftConvOptions&);

// Every document a call.
Tensor one_by_one(const Tensor& u, const Tensor& filter, std::span<const int64_t> starts,
                  const ops::FftConvOptions& all) {
  std::vector<Tensor> rows;
  for (int64_t b = 0; b < u.size(1); ++b) {
    std::vector<Tensor> documents;
    for (int64_t begin = 0, end; begin < u.size(2); begin = end) {
      end = begin + 1;
      while (end < u.size(2) && std::ranges::find(starts, b * u.size(2) + end) == starts.end()) ++end;
      const auto part = [&](const Tensor& whole) {
        return ops::contiguous(ops::slice(ops::slice(whole, 1, b, 1), 2, begin, end - begin));
      };
      ops::FftConvOptions options = all;
      options.gate_in = part(all.gate_in), options.gate_out = part(all.gate_out);
      documents.push_back(ops::fft_conv(part(u), filter, options));
    }
    rows.push_back(ops::concat(documents, 2));
  }
  return ops::concat(rows, 1);
}

// Two rows: whole ones, short and long documents, starts that are a row's and that are named twice.
std::vector<OpCase> packed(PackedConvolution op) {
  std::vector<OpCase> out;
  for (const std::vector<int64_t>& starts :
       {std::vector<int64_t>{}, {0, 1, 18, 35}, {3, 3, 40, 57, 79}, {20, 39, 41, 60}}) {
    for (const bool reverse : {false, true}) {
      const Argument row{{2, 2, 40}};
      std::vector<Argument> arguments{row, {{2, 25}, Argument::parameter}, {{2}, Argument::parameter}, row, row};
      if (reverse) arguments.push_back({{2, 9}, Argument::parameter});
      out.push_back({detail::join({starts.size(), " starts", reverse ? " reverse" : ""}), arguments, [=](const In& x) {
                       ops::FftConvOptions options{.skip = x[2], .gate_in = x[3], .gate_out = x[4]};
                       if (reverse) options.reverse = x[5];
                       return op(x[0], x[1], starts, options);
                     }});
    }
  }
  return out;
}

TEST(FftConvGradients, OfPackedDocumentsMatchDifferences) { check_gradients(packed(ops::fft_conv_packed)); }
TEST_P(FftConvOps, PackedDocumentsAreApart) {
  const std::vector<OpCase> together = packed(ops::fft_conv_packed), apart = packed(one_by_one);
  for (size_t i = 0; i < apart.size(); ++i) check_same(together[i], apart[i].fn, device());
  check_precision(together, device());
  const Tensor u = ops::full({2, 3, 8}, 1, Dtype::f32, device()), filter = ops::full({2, 5}, 1, Dtype::f32, device());
  for (const std::vector<int64_t>& wrong : {std::vector<int64_t>{5, 4}, {-1}, {24}}) {
    EXPECT_THROW(ops::fft_conv_packed(u, filter, wrong), Error);
  }
  EXPECT_THROW(ops::fft_conv_packed(u, filter, {}, {.form = ops::ConvForm::circular}), Error);
}

// Masks of the bins of a transform of 24, for rows of 12: all, none, a low-pass, bands, the ends, every second.
const char* const kMasks[] = {"1111111111111", "0000000000000", "1111000000000",
                              "0001110110011", "1000000000001", "0101010101010"};
std::vector<bool> mask(std::string_view bins) {
  std::vector<bool> keep;
  for (const char bin : bins) keep.push_back(bin == '1');
  return keep;
}

// The filter's transform over a period of 2 L, what is not kept set to zero, and back.
Values masked_by_transform(const Values& filter, const std::vector<bool>& keep) {
  const int64_t length = std::ssize(keep) - 1, period = 2 * length;
  const auto wave = [&](int64_t n) {
    return std::polar(1.0, 2 * std::numbers::pi * static_cast<double>(n % period) / static_cast<double>(period));
  };
  Values out(static_cast<size_t>(period));
  for (int64_t bin = 0; bin < period; ++bin) {
    if (!keep[std::min(bin, period - bin)]) continue;
    std::complex<double> spectrum = 0;
    for (int64_t n = 0; n < std::ssize(filter); ++n) spectrum += filter[n] * std::conj(wave(bin * n));
    for (int64_t n = 0; n < period; ++n) out[n] += (spectrum * wave(bin * n)).real() / static_cast<double>(period);
  }
  return out;
}

TEST_P(FftConvOps, MaskedFrequenciesAreGone) {
  for (const int64_t taps : {1, 7, 12}) {
    for (const char* bins : kMasks) {
      SCOPED_TRACE(detail::join({"K ", taps, " bins ", bins}));
      const Values filter = noise(taps, 3), want = masked_by_transform(filter, mask(bins));
      const ops::TwoSidedFilter got =
          ops::frequency_masked(Tensor::from(filter, {1, taps}, Dtype::f32, device()), mask(bins));
      const Values ahead = got.filter.to_host(), behind = got.reverse.to_host();
      ASSERT_EQ(ahead.size(), 12u);
      ASSERT_EQ(behind.size(), 12u);
      for (int64_t n = 0; n < 12; ++n) {
        EXPECT_NEAR(ahead[n], want[n], 1e-6);
        EXPECT_NEAR(behind[n], n == 0 ? 0.0 : want[24 - n], 1e-6);
      }
    }
  }
  const Tensor filter = ops::full({1, 13}, 1, Dtype::f32, device());
  EXPECT_THROW(ops::frequency_masked(filter, mask(kMasks[0])), Error);
}
TEST(FftConvGradients, OfMaskedFiltersMatchDifferences) {
  std::vector<OpCase> masked;
  for (const char* bins : kMasks) {
    masked.push_back({bins, {{{2, 3, 12}}, {{2, 7}, Argument::parameter}}, [bins](const In& x) {
                        const auto [filter, reverse] = ops::frequency_masked(x[1], mask(bins));
                        return ops::fft_conv(x[0], filter, {.reverse = reverse});
                      }});
  }
  check_gradients(masked);
}

// Masks of the digits of bins of rows of 12: all, none, a low pass, what is not symmetric, every bin its own.
struct DigitMask {
  const char* digits;
  int64_t length = 12;
};
const DigitMask kDigitMasks[] = {{"1111"}, {"0000"}, {"1001"}, {"110110"}, {"010"}, {"1"}, {"101100010111"}, {"10", 2}};

// The right-angle transform of the filter, what is not kept set to zero, and back: lags 0 to L - 1 are the real part,
// -L to -1 the negated imaginary one. Of lags from -L on.
Values masked_by_right_angle(const Values& filter, const DigitMask& by) {
  const int64_t length = by.length;
  const std::vector<bool> keep = mask(by.digits);
  const auto wave = [&](int64_t bin, int64_t n) {
    return std::polar(1.0, 2 * std::numbers::pi * (static_cast<double>(bin) - 0.25) * static_cast<double>(n) /
                               static_cast<double>(length));
  };
  Values lags(static_cast<size_t>(2 * length));
  for (int64_t bin = 0; bin < length; ++bin) {
    if (!keep[bin * std::ssize(keep) / length]) continue;
    std::complex<double> spectrum = 0;
    for (int64_t n = 0; n < std::ssize(filter); ++n) spectrum += filter[n] * std::conj(wave(bin, n));
    for (int64_t n = 0; n < length; ++n) {
      const std::complex<double> part = spectrum * wave(bin, n) / static_cast<double>(length);
      lags[length + n] += part.real();
      lags[n] -= part.imag();
    }
  }
  return lags;
}

TEST_P(FftConvOps, MaskedDigitsAreGone) {
  for (const DigitMask& by : kDigitMasks) {
    for (const int64_t taps : {int64_t{1}, by.length / 2, by.length}) {
      SCOPED_TRACE(detail::join({"K ", taps, " L ", by.length, " digits ", by.digits}));
      const Values filter = noise(taps, 3), want = masked_by_right_angle(filter, by);
      const auto [ahead, reverse] =
          ops::monarch_masked(Tensor::from(filter, {1, taps}, Dtype::f32, device()), by.length, mask(by.digits));
      const Values forward = ahead.to_host(), backward = reverse.to_host();
      ASSERT_EQ(std::ssize(forward), by.length);
      ASSERT_EQ(std::ssize(backward), by.length);
      for (int64_t n = 0; n < by.length; ++n) {
        EXPECT_NEAR(forward[n], want[by.length + n], 1e-6);
        EXPECT_NEAR(backward[n], n == 0 ? 0.0 : want[by.length - n], 1e-6);
      }
    }
  }
  const Tensor filter = ops::full({1, 12}, 1, Dtype::f32, device());
  EXPECT_THROW(ops::monarch_masked(filter, 12, mask("11111")), Error);
  EXPECT_THROW(ops::monarch_masked(filter, 10, mask("11")), Error);
  EXPECT_THROW(ops::monarch_masked(filter, 12, {}), Error);
}
TEST(FftConvGradients, OfFiltersWithMaskedDigitsMatchDifferences) {
  std::vector<OpCase> masked;
  for (const DigitMask& by : kDigitMasks) {
    if (by.length != 12) continue;
    masked.push_back({by.digits, {{{2, 3, 12}}, {{2, 7}, Argument::parameter}}, [by](const In& x) {
                        const auto [filter, reverse] = ops::monarch_masked(x[1], by.length, mask(by.digits));
                        return ops::fft_conv(x[0], filter, {.reverse = reverse});
                      }});
  }
  check_gradients(masked);
}

TEST_P(FftConvOps, FusedIsComposed) {
  for (const Form& form : forms()) {
    check_same(convolution(form, ops::fft_conv), convolution(form, ops::fft_conv_composed).fn, device());
  }
  const Form longer{300, 257, 100, true, true, true, false};
  check_same(convolution(longer, ops::fft_conv), convolution(longer, ops::fft_conv_composed).fn, device());
}

}  // namespace
}  // namespace mara
