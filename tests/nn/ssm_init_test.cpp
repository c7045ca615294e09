#include "nn/ssm_init.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "devices.h"
#include "nn/complex_matrix.h"
#include "ops/ssm.h"

namespace mara::nn {
namespace {

using Z = std::complex<double>;

std::vector<double> squares(std::vector<double> values) {
  for (double& x : values) x *= x;
  return values;
}
void expect_first(const std::vector<double>& actual, const std::vector<double>& expected, double bound = 1e-8) {
  ASSERT_GE(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], bound) << i;
}

TEST(SsmInit, SSM_3) {
  expect_first(legs_modes(2).frequency, {-0.8660254});
  expect_first(legs_modes(4).frequency, {-4.60329301, -0.55650112});
  expect_first(legs_modes(8).frequency, {-19.85741037, -5.35420852, -1.95779415, -0.42748871});
  const std::vector<double> many = legs_modes(64).frequency;
  expect_first(many, {-1303.27384298, -433.03075654, -258.15221022, -182.6204114, -140.21433596, -112.8760327});
  expect_first({many.end() - 4, many.end()}, {-2.62565477, -1.70296817, -0.90585941, -0.26385693});
  expect_first(squares(legs_modes(4).b), {7.06504411, 0.93495589});
  expect_first(squares(legs_modes(8).b), {26.58047454, 3.39985256, 1.38053088, 0.63914203});
  for (size_t n = 0; n < 4; ++n) EXPECT_NEAR(legs_modes(8).b[n], std::sqrt(2) * legs_modes(8).p[n], 1e-12);
  for (const double log_decay : legs_modes(8).log_decay) EXPECT_EQ(log_decay, std::log(0.5));
}

TEST(SsmInit, SSM_G4_matrix) {
  const LegS system = legs(4);
  expect_first(system.a, {-1, 0, 0, 0, -1.73205081, -2, 0, 0, -2.23606798, -3.87298335, -3, 0, -2.64575131, -4.58257569,
                          -5.91607978, -4});
  // exp(A dt) and its integral by their series: the filter of the real system, held between samples.
  constexpr double kStep = 0.1;
  std::vector<double> power(16), term(16), input(4);
  for (size_t i = 0; i < 4; ++i) term[5 * i] = 1;
  for (int order = 1; order < 30; ++order) {
    for (size_t i = 0; i < 16; ++i) {
      power[i] += term[i];
      input[i / 4] += kStep * term[i] / order * system.b[i % 4];
    }
    std::vector<double> next(16);
    for (size_t i = 0; i < 16; ++i) {
      for (size_t k = 0; k < 4; ++k) next[i] += term[i / 4 * 4 + k] * system.a[4 * k + i % 4] * kStep / order;
    }
    term = next;
  }
  const double c[] = {1, -.5, .25, 2};
  std::vector<double> filter, x = input;
  for (int l = 0; l < 8; ++l) {
    std::vector<double> next(4);
    double y = 0;
    for (size_t i = 0; i < 4; ++i) {
      y += c[i] * x[i];
      for (size_t k = 0; k < 4; ++k) next[i] += power[4 * i + k] * x[k];
    }
    filter.push_back(y);
    x = next;
  }
  expect_first(filter, {.31903397, -.01083635, -.12299532, -.12755654, -.08647825, -.03286688, .01703705, .05651904});
}

// The eigenvectors bring C into the basis of the modes; the truncation of a period in which all decays is none.
TEST(SsmInit, SSM_G4_modes) {
  const LegS system = legs(4);
  ComplexMatrix hermitian(4);
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 4; ++j) {
      const auto at = [&](int64_t index) { return static_cast<size_t>(index); };
      const double s = system.a[at(4 * i + j)] + system.p[at(i)] * system.p[at(j)] + (i == j ? 0.5 : 0);
      hermitian(i, j) = {0, -s};
    }
  }
  const ComplexMatrix vectors = eigen(hermitian).vectors;
  const double real_c[] = {1, -.5, .25, 2};
  std::vector<double> c;
  for (int64_t n = 0; n < 2; ++n) {
    Z p = 0, value = 0;
    for (int64_t i = 0; i < 4; ++i) p += std::conj(vectors(i, n)) * system.p[static_cast<size_t>(i)];
    for (int64_t i = 0; i < 4; ++i) value += real_c[i] * vectors(i, n) * p / std::abs(p);
    c.insert(c.end(), {value.real(), value.imag()});
  }
  const SsmModes modes = legs_modes(4);
  const auto tensor = [](const std::vector<double>& values, const Shape& shape) {
    return Tensor::from(values, shape, Dtype::f64, kCpu);
  };
  const auto pairs = [&](const std::vector<double>& real) { return tensor({real[0], 0, real[1], 0}, {1, 2, 2}); };
  const ops::SsmParameters parameters{tensor({std::log(0.1)}, {1}), tensor(modes.log_decay, {1, 2}),
                                      tensor(modes.frequency, {1, 2}), pairs(modes.b), tensor(c, {1, 2, 2})};
  expect_first(ops::dplr_ssm_filter(parameters, pairs(modes.p), 512, 8).to_host(),
               {.34408677, -.01018578, -.13103256, -.13688829, -.09410643, -.03798031, .01426636, .05556313});
}

TEST(SsmInit, SSM_5_1) {
  constexpr double kPi = std::numbers::pi;
  expect_first(diagonal_modes("lin", 64).frequency, {0, kPi, 2 * kPi});
  const std::vector<double> inv = diagonal_modes("inv", 64).frequency;
  expect_first(inv, {1283.4255, 414.2273, 240.3876, 165.8849}, 1e-4);
  EXPECT_NEAR(inv.back(), 0.32336, 1e-5);
  expect_first(diagonal_modes("inv2", 64).frequency, {64 / kPi * 63, 64 / kPi * 31});
  expect_first(diagonal_modes("quad", 64).frequency, {0.3183, 2.8648, 7.9577}, 1e-4);
  expect_first(diagonal_modes("real", 8).log_decay, {0, std::log(2), std::log(3), std::log(4)});
  EXPECT_EQ(diagonal_modes("legs", 8).frequency, legs_modes(8).frequency);
  for (const std::string& name : diagonal_mode_names()) {
    const SsmModes modes = diagonal_modes(name, 6);
    EXPECT_EQ(modes.log_decay.size(), 3u) << name;
    EXPECT_EQ(modes.frequency.size(), 3u) << name;
    EXPECT_EQ(modes.b.size(), 3u) << name;
    EXPECT_EQ(modes.log_decay[2], std::log(name == "real" ? 3 : 0.5)) << name;
    EXPECT_EQ(modes.b[1] == 1, name != "legs") << name;
  }
}

TEST(SsmInit, Draws) {
  const std::vector<double> dt = drawn_log_dt(1e-3, 1e-1).draw(4000, 1, "log_dt");
  double sum = 0;
  for (const double x : dt) {
    ASSERT_GE(x, std::log(1e-3));
    ASSERT_LT(x, std::log(1e-1));
    sum += x;
  }
  EXPECT_NEAR(sum / 4000, std::log(1e-2), 0.1);
  double squares = 0;
  const std::vector<double> c = drawn_c().draw(4000, 1, "c");
  for (const double x : c) squares += x * x;
  EXPECT_NEAR(squares / 2000, 1, 0.06);
  const std::vector<double> frequency = drawn_frequency().draw(100, 1, "frequency"),
                            normal = Init::normal(1).draw(100, 1, "frequency");
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(frequency[i], std::exp(normal[i]));
}

TEST(ComplexMatrixTest, ProductsSolutionsEigenvalues) {
  ComplexMatrix a(3);
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 3; ++j)
      a(i, j) = {std::sin(1.0 + static_cast<double>(3 * i + j)), static_cast<double>(i) / 2};
  }
  const std::vector<Z> b = {{1, 2}, {-1, 0.5}, {0, 3}}, x = solve_row(a, b);
  for (int64_t j = 0; j < 3; ++j) {
    Z sum = 0, square = 0;
    for (int64_t i = 0; i < 3; ++i) sum += x[static_cast<size_t>(i)] * a(i, j), square += a(1, i) * a(i, j);
    EXPECT_LT(std::abs(sum - b[static_cast<size_t>(j)]), 1e-12);
    EXPECT_LT(std::abs(square - product(a, a)(1, j)), 1e-12);
  }
  EXPECT_THROW(solve_row(ComplexMatrix(3), b), Error);
  ComplexMatrix h(2);
  h(0, 0) = 1, h(1, 1) = 1, h(0, 1) = {0, -2}, h(1, 0) = {0, 2};
  const Eigen modes = eigen(h);
  expect_first(modes.values, {-1, 3}, 1e-12);
  EXPECT_LT(std::abs(h(0, 0) * modes.vectors(0, 1) + h(0, 1) * modes.vectors(1, 1) - 3.0 * modes.vectors(0, 1)), 1e-12);
}

}  // namespace
}  // namespace mara::nn
