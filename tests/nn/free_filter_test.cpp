#include "nn/free_filter.h"

#include <complex>

#include "core/random.h"
#include "gradient_check.h"
#include "nn/parameters.h"
#include "ops/elementwise.h"

namespace mara::nn {
namespace {

Tensor row(const std::vector<double>& values) {
  return Tensor::from(values, {1, static_cast<int64_t>(values.size())}, Dtype::f64, kCpu);
}

struct FilterUnderTest {
  FilterUnderTest(const FreeFilterOptions& options, int64_t channels, int64_t filters, int64_t length,
                  Dtype dtype = Dtype::f64)
      : filter(options, channels, filters, length), arena(filter, kCpu, dtype, 1) {}
  std::vector<double> initial() { return parameter(filter, "taps").value().to_host(); }

  FreeFilter filter;
  ParameterArena arena;
};

double rms(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum / static_cast<double>(x.size()));
}

TEST(FreeFilter, SSM_G10_squash) {
  const Tensor k = row({.005, -.002, .0031, -.0045, .003, 0});
  EXPECT_LT(relative_error(squash(k, .003).to_host(), {.002, 0, .0001, -.0015, 0, 0}), 1e-12);
}

TEST(FreeFilter, SSM_G10_smooth) {
  EXPECT_LT(relative_error(smooth(row({1, 2, 3, 4, 5}), 3).to_host(), {1, 2, 3, 4, 3}), 1e-12);
}

TEST(FreeFilter, SSM_G10_double_exponential) {
  const std::vector<double> envelope{1, .77880078, .60653066, .47236655, 1, .74281981, .55178127, .40987406,
                                     1, .7021885,  .49306869, .34622717, 1, .65675239, .4313237,  .28327288};
  FilterUnderTest decaying({.init = "double_exponential"}, 4, 2, 4), plain({.init = "random"}, 4, 2, 4);
  std::vector<double> expected = plain.initial();  // the same draws, with another deviation
  for (size_t i = 0; i < expected.size(); ++i) expected[i] *= 10 * envelope[i % 16];
  EXPECT_LT(relative_error(decaying.initial(), expected), 1e-7);
}

TEST(FreeFilter, RandomInit) {
  FilterUnderTest f({.squash = .003}, 20, 1, 1000, Dtype::f32);
  EXPECT_NEAR(rms(f.initial()), 0.002, 2e-5);
  int64_t alive = 0;
  for (const double tap : f.filter.taps(1000, false).to_host()) alive += tap != 0;
  EXPECT_NEAR(static_cast<double>(alive) / 20000, 0.1336, 0.01);
}

TEST(FreeFilter, SquashIsASoftThreshold) {
  const std::vector<double> x = wave(50, 0.2), y = squash(row(x), .4).to_host();
  std::vector<double> minus = x;
  for (double& v : minus) v = -v;
  const std::vector<double> odd = squash(row(minus), .4).to_host();
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(y[i], std::copysign(std::max(std::fabs(x[i]) - .4, 0.0), x[i]), 1e-15);
    EXPECT_EQ(odd[i], -y[i]);
    for (size_t j = 0; j < i; ++j) EXPECT_LE(std::fabs(y[i] - y[j]), std::fabs(x[i] - x[j]) + 1e-15);
  }
  EXPECT_EQ(squash(row(x), 0).to_host(), x);
  expect_gradient([](const std::vector<Tensor>& in) { return squash(in[0], .4); }, {row(x)});
}

TEST(FreeFilter, SmoothIsSymmetric) {
  const std::vector<double> x = wave(23, .1), y = wave(23, 1.7);
  for (const int64_t width : {3, 7, 41}) {
    const std::vector<double> sx = smooth(row(x), width).to_host(), sy = smooth(row(y), width).to_host();
    double left = 0, right = 0;
    for (size_t i = 0; i < x.size(); ++i) left += sx[i] * y[i], right += x[i] * sy[i];
    EXPECT_NEAR(left, right, 1e-13);
    EXPECT_GT(relative_error(sx, x), 0.01);
    expect_gradient([width](const std::vector<Tensor>& in) { return smooth(in[0], width); }, {row(x)});
  }
}

// The spectrum of the smoothed filter is that of the filter, convolved on the circle with exp(-m^2 / 2).
TEST(FreeFilter, SmoothsTheSpectrum) {
  constexpr int64_t kLength = 12;
  FilterUnderTest f({.squash = 0, .smooth_frequency = 5}, 1, 1, kLength);
  const auto spectrum = [](const std::vector<double>& k) {
    std::vector<std::complex<double>> out;
    for (int64_t j = 0; j < kLength; ++j) {
      std::complex<double> sum = 0;
      for (int64_t t = 0; t < kLength; ++t) {
        sum += k[static_cast<size_t>(t)] * std::polar(1.0, -2 * std::acos(-1.0) * static_cast<double>(j * t) / kLength);
      }
      out.push_back(sum);
    }
    return out;
  };
  const auto before = spectrum(f.initial()), after = spectrum(f.filter.taps(kLength, false).to_host());
  for (int64_t j = 0; j < kLength; ++j) {
    std::complex<double> expected = 0;
    for (int64_t m = -2; m <= 2; ++m) {
      expected += std::exp(-static_cast<double>(m * m) / 2) * before[static_cast<size_t>((j + m + kLength) % kLength)];
    }
    EXPECT_LT(std::abs(after[static_cast<size_t>(j)] - expected), 1e-12);
  }
}

TEST(FreeFilter, SmoothsThenSquashes) {
  FilterUnderTest f({.squash = .2, .smooth = 3, .smooth_frequency = 3}, 1, 1, 20);
  assign(f.filter, "taps", wave(20, 0.4));
  const Tensor taps = parameter(f.filter, "taps").value(), window = parameter(f.filter, "window").value();
  const std::vector<double> k = f.filter.taps(20, false).to_host();
  EXPECT_LT(relative_error(k, squash(ops::mul(smooth(taps, 3), window), .2).to_host()), 1e-12);
  EXPECT_GT(relative_error(k, ops::mul(squash(smooth(taps, 3), .2), window).to_host()), 0.01);  // controls
  EXPECT_GT(relative_error(k, ops::mul(smooth(squash(taps, .2), 3), window).to_host()), 0.01);
}

TEST(FreeFilter, DropoutOnlyInTraining) {
  FilterUnderTest f({.squash = 0, .dropout = 0.25}, 8, 1, 2000, Dtype::f32);
  assign(f.filter, "taps", std::vector<double>(16000, 1));
  int64_t step = 0;
  RandomStream random{.seed = 3, .step = &step};
  const RandomScope scope(random);
  EXPECT_EQ(f.filter.taps(2000, false).to_host(), std::vector<double>(16000, 1));
  double sum = 0;
  int64_t dropped = 0;
  for (const double tap : f.filter.taps(2000, true).to_host()) sum += tap, dropped += tap == 0;
  EXPECT_NEAR(static_cast<double>(dropped) / 16000, 0.25, 0.02);
  EXPECT_NEAR(sum / 16000, 1, 0.02);
}

TEST(FreeFilter, AShorterOneIsTheBeginning) {
  FilterUnderTest f({.squash = .001, .smooth = 5, .smooth_frequency = 3}, 2, 1, 9);
  const std::vector<double> whole = f.filter.taps(9, false).to_host(), part = f.filter.taps(4, false).to_host();
  EXPECT_EQ(part,
            (std::vector<double>{whole[0], whole[1], whole[2], whole[3], whole[9], whole[10], whole[11], whole[12]}));
  EXPECT_THROW(f.filter.taps(10, false), Error);
}

TEST(FreeFilter, Hints) {
  FilterUnderTest slow({.lr_scale = 0.5, .smooth_frequency = 3}, 2, 1, 4), frozen({.lr_scale = 0}, 2, 1, 4);
  const ParamHints& taps = parameter(slow.filter, "taps").hints();
  EXPECT_EQ(taps.lr_scale, 0.5f);
  EXPECT_EQ(taps.decay, Decay::never);
  EXPECT_TRUE(taps.trainable);
  EXPECT_FALSE(parameter(slow.filter, "window").hints().trainable);
  EXPECT_FALSE(parameter(frozen.filter, "taps").hints().trainable);
}

}  // namespace
}  // namespace mara::nn
