#include "generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"

namespace mara::generate {
namespace {

const std::vector<double> kLogits{std::log(0.1), std::log(0.5), std::log(0.15), std::log(0.25)};

/// How often each token is drawn, at positions 0, 1, 2, ...
std::vector<double> frequencies(const SamplerOptions& options, const std::vector<double>& logits = kLogits) {
  constexpr int64_t kDraws = 20000;
  const Sampler sampler(options);
  std::vector<double> out(logits.size());
  for (int64_t i = 0; i < kDraws; ++i) out[static_cast<size_t>(sampler.sample(logits, 0, i))] += 1;
  for (double& frequency : out) frequency /= kDraws;
  return out;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double out = 0;
  for (size_t i = 0; i < a.size(); ++i) out = std::max(out, std::fabs(a[i] - b[i]));
  return out;
}

constexpr double kNoise = 0.015;  // four standard deviations of a frequency

TEST(Sampler, DrawsFromTheDistribution) {
  const std::vector<double> drawn = frequencies({});
  EXPECT_LT(distance(drawn, {0.1, 0.5, 0.15, 0.25}), kNoise);
  EXPECT_GT(distance(drawn, {0.1, 0.46, 0.15, 0.29}), kNoise);  // control
  // Probabilities to the power 1 / temperature.
  EXPECT_LT(distance(frequencies({.temperature = 0.5}), {0.01 / 0.345, 0.25 / 0.345, 0.0225 / 0.345, 0.0625 / 0.345}),
            kNoise);
  EXPECT_LT(distance(frequencies({.temperature = 1e300}), {0.25, 0.25, 0.25, 0.25}), kNoise);
}

TEST(Sampler, TemperatureZeroTakesTheLikeliest) {
  EXPECT_EQ(frequencies({.temperature = 0})[1], 1);
  EXPECT_EQ(Sampler({.temperature = 0}).sample(std::vector<double>{1, 3, 2, 3}, 0, 0), 1);  // the lower of equals
  EXPECT_EQ(frequencies({.temperature = 1e-300})[1], 1);
}

TEST(Sampler, TopK) {
  EXPECT_LT(distance(frequencies({.top_k = 2}), {0, 0.5 / 0.75, 0, 0.25 / 0.75}), kNoise);
  EXPECT_EQ(frequencies({.top_k = 1})[1], 1);
  EXPECT_LT(distance(frequencies({.top_k = 9}), {0.1, 0.5, 0.15, 0.25}), kNoise);
  EXPECT_EQ(frequencies({.top_k = 2}, {1, 1, 1, 1})[2], 0);  // of equals, the lower
}

TEST(Sampler, TopP) {
  EXPECT_EQ(frequencies({.top_p = 0.49})[1], 1);
  EXPECT_LT(distance(frequencies({.top_p = 0.51}), {0, 0.5 / 0.75, 0, 0.25 / 0.75}), kNoise);
  EXPECT_LT(distance(frequencies({.top_p = 0.8}), {0, 0.5 / 0.9, 0.15 / 0.9, 0.25 / 0.9}), kNoise);
  EXPECT_EQ(frequencies({.top_p = 1e-300})[1], 1);
  // Of the two likeliest, one has two thirds.
  EXPECT_EQ(frequencies({.top_k = 2, .top_p = 0.6})[1], 1);
  EXPECT_LT(distance(frequencies({.top_k = 2, .top_p = 0.7}), {0, 0.5 / 0.75, 0, 0.25 / 0.75}), kNoise);
}

TEST(Sampler, IsAFunctionOfSeedRowAndPosition) {
  const std::vector<double> even(1000);
  const auto draws = [&](uint64_t seed, int64_t row) {
    const Sampler sampler({.seed = seed});
    std::vector<int32_t> out;
    for (const int64_t position : {0, 1, 2, 3}) out.push_back(sampler.sample(even, row, position));
    return out;
  };
  EXPECT_EQ(draws(7, 3), draws(7, 3));
  const std::vector<int32_t> one = draws(7, 3);
  EXPECT_EQ(std::set<int32_t>(one.begin(), one.end()).size(), 4u);  // by position
  EXPECT_EQ((std::set{draws(7, 3), draws(8, 3), draws(7, 4), draws(3, 7)}.size()), 4u);
  const Sampler sampler({.seed = 7});
  EXPECT_EQ(sampler.sample(even, 3, 2), one[2]);  // whatever was drawn before
}

TEST(Sampler, RefusesWhatMakesNoSense) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();
  for (const SamplerOptions& options : {SamplerOptions{.temperature = -1},
                                        {.temperature = kNan},
                                        {.temperature = kInfinity},
                                        {.top_k = -1},
                                        {.top_p = 0},
                                        {.top_p = 1.01},
                                        {.top_p = kNan}}) {
    EXPECT_THROW(Sampler{options}, Error);
  }
  for (const std::vector<double>& logits :
       {std::vector{1, kNan}, {kNan, 1}, {1, kInfinity}, {-kInfinity, -kInfinity}}) {
    EXPECT_THROW(Sampler({}).sample(logits, 0, 0), Error);
    EXPECT_THROW(Sampler({.temperature = 0}).sample(logits, 0, 0), Error);
  }
  EXPECT_EQ(Sampler({}).sample(std::vector{-kInfinity, 1.0}, 0, 0), 1);  // a token that cannot be
}

}  // namespace
}  // namespace mara::generate
