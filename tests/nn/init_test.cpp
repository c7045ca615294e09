#include "nn/init.h"

#include <algorithm>

#include "devices.h"
#include "kernels/threads.h"

namespace mara::nn {
namespace {

std::vector<double> drawn(const Init& init, int64_t count, uint64_t seed = 1, const std::string& name = "w",
                          Dtype dtype = Dtype::f64) {
  const Tensor out = Tensor::empty({count}, dtype, kCpu);
  init.fill(out, seed, name);
  return out.to_host();
}

struct Moments {
  double mean = 0, deviation = 0, fourth = 0, low = 0, high = 0;
  explicit Moments(const std::vector<double>& x) {
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) deviation += (v - mean) * (v - mean) / static_cast<double>(x.size());
    for (const double v : x) fourth += std::pow(v - mean, 4) / static_cast<double>(x.size()) / deviation / deviation;
    deviation = std::sqrt(deviation);
    low = *std::min_element(x.begin(), x.end());
    high = *std::max_element(x.begin(), x.end());
  }
};
constexpr int64_t kMany = 200000;  // standard errors: mean 0.0022, deviation 0.0016, fourth moment 0.011 (relative)

TEST(Init, Normal) {
  const Moments m(drawn(Init::normal(0.5), kMany));
  EXPECT_NEAR(m.mean / 0.5, 0, 0.01);
  EXPECT_NEAR(m.deviation / 0.5, 1, 0.01);
  EXPECT_NEAR(m.fourth, 3, 0.06);
  EXPECT_GT(m.high, 4 * 0.5);  // has tails
}

TEST(Init, UniformAndFanIn) {
  for (const auto& [init, bound] : {std::pair{Init::uniform(2), 2.0}, {Init::fan_in(16), 0.25}}) {
    const Moments m(drawn(init, kMany));
    EXPECT_GE(m.low, -bound);
    EXPECT_LT(m.high, bound);
    EXPECT_LT(m.low, -0.999 * bound);
    EXPECT_GT(m.high, 0.999 * bound);
    EXPECT_NEAR(m.mean / bound, 0, 0.01);
    EXPECT_NEAR(m.deviation / bound, 1 / std::sqrt(3.0), 0.01);
    EXPECT_NEAR(m.fourth, 1.8, 0.02);
  }
}

TEST(Init, ConstantsAndTables) {
  EXPECT_EQ(drawn(Init::zeros(), 3), (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(drawn(Init::ones(), 2), (std::vector<double>{1, 1}));
  EXPECT_EQ(drawn(Init::constant(-2.5), 2), (std::vector<double>{-2.5, -2.5}));
  EXPECT_EQ(drawn(Init::values([](int64_t i) { return 0.5 * static_cast<double>(i); }), 5),
            (std::vector<double>{0, 0.5, 1, 1.5, 2}));
}

TEST(Init, Times) {
  const auto ramp = [](int64_t i) { return 0.5 * static_cast<double>(i); };
  std::vector<double> expected = drawn(Init::normal(2), 7);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] *= 0.5 * static_cast<double>(i);
  EXPECT_EQ(drawn(Init::normal(2).times(ramp), 7), expected);
  EXPECT_EQ(drawn(Init::ones().times(ramp), 3), (std::vector<double>{0, 0.5, 1}));
}

TEST(Init, IsAFunctionOfSeedNameAndElement) {
  for (const Init& init : {Init::normal(1), Init::uniform(1)}) {
    const std::vector<double> values = drawn(init, 101);
    EXPECT_EQ(drawn(init, 101), values);
    const std::vector<double> part = drawn(init, 50);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), values.begin()));
    EXPECT_GT(relative_error(drawn(init, 101, 2), values), 1);
    EXPECT_GT(relative_error(drawn(init, 101, 1, "v"), values), 1);
    EXPECT_LT(relative_error(drawn(init, 101, 1, "w", Dtype::f32), values), 1e-7);
  }
}

TEST(Init, DoesNotDependOnThreads) {
  expect_same_bits_for_any_thread_count([] { return drawn(Init::normal(1), 100003); });
}

}  // namespace
}  // namespace mara::nn
