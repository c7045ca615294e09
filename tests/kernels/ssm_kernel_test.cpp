#include "kernels/ssm_kernel.h"

#include <gtest/gtest.h>

#include <complex>
#include <numbers>

#include "core/parallel.h"
#include "devices.h"
#include "kernels/compare.h"
#include "kernels/kernels.h"

namespace mara {
namespace {

using kernels::Discretization;
using Values = std::vector<double>;
using Z = std::complex<double>;

/// period 0: diagonal systems; otherwise DPLR ones.
struct Case {
  int64_t rows, channels, systems, modes, length, period = 0;
  Discretization rule = Discretization::bilinear;
  double rate = 1;
};

std::string to_string(const Case& c) {
  return detail::join({"R ", c.rows, " H ", c.channels, " S ", c.systems, " M ", c.modes, " L ", c.length, " period ",
                       c.period, c.rule == Discretization::zoh ? " zoh" : " bilinear"});
}

enum Part { kLogDt, kLogDecay, kFrequency, kB, kC, kP, kParts };

/// The parameters, or their gradients; p is empty for diagonal systems.
using Parts = std::array<Values, kParts>;

std::array<Shape, kParts> shapes(const Case& c) {
  return {Shape{c.channels},       {c.systems, c.modes}, {c.systems, c.modes},
          {c.systems, c.modes, 2}, {c.rows, c.modes, 2}, {c.period > 0 ? c.systems : 0, c.modes, 2}};
}

Values noise(int64_t count, uint32_t seed) {
  Values out(static_cast<size_t>(count));
  for (double& value : out) value = static_cast<double>((seed = seed * 1664525u + 1013904223u) >> 8) * 0x1p-23 - 1.0;
  return out;
}

// What the layers start from: steps from 1e-3 to 1e-1, decay about 1/2, frequencies up to that of HiPPO with N = 64.
Parts inputs(const Case& c) {
  Parts out;
  const std::array<Shape, kParts> all = shapes(c);
  for (int i = 0; i < kParts; ++i) out[i] = noise(all[i].numel(), static_cast<uint32_t>(i + 1));
  for (double& x : out[kLogDt]) x = std::log(1e-2) + x * std::log(10.0);
  for (double& x : out[kLogDecay]) x = std::log(0.5) + 0.3 * x;
  for (size_t i = 0; i < out[kFrequency].size(); ++i) {
    out[kFrequency][i] *= 1303.0 / static_cast<double>(1 + i % static_cast<size_t>(c.modes));
  }
  return out;
}

Z complex_at(const Values& x, int64_t i) { return {x[2 * i], x[2 * i + 1]}; }

// A row of k by the definitions.
Values diagonal_row(const Case& c, const Parts& x, int64_t row) {
  Values k(c.length);
  const int64_t h = row % c.channels, s = h % c.systems;
  const double dt = c.rate * std::exp(x[kLogDt][h]);
  for (int64_t n = 0; n < c.modes; ++n) {
    const int64_t i = s * c.modes + n;
    const Z a(-std::exp(x[kLogDecay][i]), x[kFrequency][i]), z = dt * a;
    const bool zoh = c.rule == Discretization::zoh;
    const Z lambda = zoh ? std::exp(z) : (1.0 + z / 2.0) / (1.0 - z / 2.0);
    const Z phi = zoh ? (lambda - 1.0) / a : dt / (1.0 - z / 2.0);
    const Z v = complex_at(x[kC], row * c.modes + n) * complex_at(x[kB], i) * phi, log = std::log(lambda);
    for (int64_t l = 0; l < c.length; ++l) k[l] += 2 * (v * std::exp(log * static_cast<double>(l))).real();
  }
  return k;
}
Values dplr_row(const Case& c, const Parts& x, int64_t row) {
  const int64_t h = row % c.channels, s = h % c.systems, half = c.period / 2;
  const double dt = c.rate * std::exp(x[kLogDt][h]), turn = 2 * std::numbers::pi / static_cast<double>(c.period);
  Values k(c.length);
  for (int64_t j = 0; j <= half; ++j) {
    const bool last = 2 * j == c.period;
    const Z w = std::polar(1.0, -turn * static_cast<double>(j)), zj = 2.0 * (1.0 - w) / (1.0 + w);
    Z sums[4] = {}, spectrum = 0;
    for (int64_t n = 0; n < c.modes; ++n) {
      const int64_t i = s * c.modes + n;
      const Z lambda = dt * Z(-std::exp(x[kLogDecay][i]), x[kFrequency][i]);
      const Z b = complex_at(x[kB], i), p = complex_at(x[kP], i), cn = complex_at(x[kC], row * c.modes + n);
      const Z v[4] = {cn * b, cn * p, std::conj(p) * b, std::conj(p) * p};
      if (last) spectrum += dt * v[0].real();
      for (int q = 0; q < 4; ++q) {
        sums[q] += dt * (v[q] / (zj - lambda) + std::conj(v[q]) / (zj - std::conj(lambda)));
      }
    }
    if (!last) spectrum = 2.0 / (1.0 + w) * (sums[0] - sums[1] * sums[2] / (1.0 + sums[3]));
    const double weight = (j == 0 || last ? 1.0 : 2.0) / static_cast<double>(c.period);
    for (int64_t l = 0; l < c.length; ++l) {
      k[l] += weight * (spectrum * std::polar(1.0, turn * static_cast<double>(j * l % c.period))).real();
    }
  }
  return k;
}
Values definition(const Case& c, const Parts& x) {
  Values out;
  for (int64_t row = 0; row < c.rows; ++row) {
    const Values k = c.period > 0 ? dplr_row(c, x, row) : diagonal_row(c, x, row);
    out.insert(out.end(), k.begin(), k.end());
  }
  return out;
}

double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

struct Result {
  Values k;
  Parts gradients;
};

class SsmKernel : public OnDevice {
 protected:
  struct Options {
    double before = 0;     // gradients are added to this
    int only = kParts;     // or all of them
    Device device = kCpu;  // where to run
  };

  // Runs both kernels; inputs are left as the dtype rounds them.
  static Result run(const Case& c, Parts& x, Values& dk, Dtype dtype, Options options) {
    std::array<Tensor, kParts> in, out;
    const std::array<Shape, kParts> all = shapes(c);
    for (int i = 0; i < kParts; ++i) {
      if (i == kP && c.period == 0) continue;
      in[i] = Tensor::from(x[i], all[i], dtype, options.device);
      x[i] = in[i].to_host();
      if (options.only == kParts || options.only == i) {
        out[i] = Tensor::from(Values(x[i].size(), options.before), all[i], dtype, options.device);
      }
    }
    const Tensor upstream = Tensor::from(dk, {c.rows, c.length}, dtype, options.device);
    dk = upstream.to_host();
    const Tensor k = Tensor::empty_like(upstream);
    const bool add = options.before != 0;
    const auto [table, stream] = kernels::on(options.device);
    if (c.period == 0) {
      table.diagonal_ssm_forward(stream, {.log_dt = in[kLogDt].view(),
                                          .log_decay = in[kLogDecay].view(),
                                          .frequency = in[kFrequency].view(),
                                          .b = in[kB].view(),
                                          .c = in[kC].view(),
                                          .k = k.view(),
                                          .discretization = c.rule,
                                          .rate = c.rate});
      table.diagonal_ssm_backward(stream, {.dk = upstream.view(),
                                           .log_dt = in[kLogDt].view(),
                                           .log_decay = in[kLogDecay].view(),
                                           .frequency = in[kFrequency].view(),
                                           .b = in[kB].view(),
                                           .c = in[kC].view(),
                                           .dlog_dt = out[kLogDt].view(),
                                           .dlog_decay = out[kLogDecay].view(),
                                           .dfrequency = out[kFrequency].view(),
                                           .db = out[kB].view(),
                                           .dc = out[kC].view(),
                                           .accumulate_log_dt = add,
                                           .accumulate_log_decay = add,
                                           .accumulate_frequency = add,
                                           .accumulate_b = add,
                                           .accumulate_c = add,
                                           .discretization = c.rule,
                                           .rate = c.rate});
    } else {
      table.dplr_ssm_forward(stream, {.log_dt = in[kLogDt].view(),
                                      .log_decay = in[kLogDecay].view(),
                                      .frequency = in[kFrequency].view(),
                                      .b = in[kB].view(),
                                      .p = in[kP].view(),
                                      .c = in[kC].view(),
                                      .k = k.view(),
                                      .period = c.period,
                                      .rate = c.rate});
      table.dplr_ssm_backward(stream, {.dk = upstream.view(),
                                       .log_dt = in[kLogDt].view(),
                                       .log_decay = in[kLogDecay].view(),
                                       .frequency = in[kFrequency].view(),
                                       .b = in[kB].view(),
                                       .p = in[kP].view(),
                                       .c = in[kC].view(),
                                       .dlog_dt = out[kLogDt].view(),
                                       .dlog_decay = out[kLogDecay].view(),
                                       .dfrequency = out[kFrequency].view(),
                                       .db = out[kB].view(),
                                       .dp = out[kP].view(),
                                       .dc = out[kC].view(),
                                       .accumulate_log_dt = add,
                                       .accumulate_log_decay = add,
                                       .accumulate_frequency = add,
                                       .accumulate_b = add,
                                       .accumulate_p = add,
                                       .accumulate_c = add,
                                       .period = c.period,
                                       .rate = c.rate});
    }
    Result result{.k = k.to_host()};
    for (int i = 0; i < kParts; ++i) {
      if (out[i].defined()) result.gradients[i] = out[i].to_host();
    }
    return result;
  }
  Result run(const Case& c, Parts& x, Values& dk, Dtype dtype) { return run(c, x, dk, dtype, {.device = device()}); }

  static double rounding_of(Dtype dtype) { return dtype == Dtype::f64 ? 1e-10 : tolerance(Dtype::f32); }
  std::vector<Dtype> dtypes() const {
    return device().type == DeviceType::cpu ? std::vector{Dtype::f64, Dtype::f32} : std::vector{Dtype::f32};
  }

  // Gradients are compared with those in f64 on the CPU, which differences of the definition vouch for.
  void expect_definition(const Case& c) {
    for (const Dtype dtype : dtypes()) {
      SCOPED_TRACE(to_string(c) + " " + to_string(dtype));
      Parts x = inputs(c);
      Values dk = noise(c.rows * c.length, 9);
      const Result got = run(c, x, dk, dtype);
      EXPECT_LT(relative_error(got.k, definition(c, x)), rounding_of(dtype));
      if (dtype == Dtype::f64) continue;
      const Result want = run(c, x, dk, Dtype::f64, {});
      for (int i = 0; i < kParts; ++i) {
        EXPECT_LT(relative_error(got.gradients[i], want.gradients[i]), rounding_of(dtype)) << "part " << i;
      }
    }
  }

  void expect_gradients_of_differences(const Case& c) {
    for (const Dtype dtype : dtypes()) {
      SCOPED_TRACE(to_string(c) + " " + to_string(dtype));
      Parts x = inputs(c);
      Values dk = noise(c.rows * c.length, 9);
      const Result got = run(c, x, dk, dtype);
      for (int part = 0; part < kParts; ++part) {
        Values want(x[part].size());
        for (size_t i = 0; i < want.size(); ++i) {
          // Of fourth order: steps of log dt turn the phases of high frequencies a long way.
          const double step = 3e-6 * std::max(1.0, std::fabs(x[part][i])), middle = x[part][i];
          const auto difference = [&](double by) {
            x[part][i] = middle + by;
            const double above = dot(definition(c, x), dk);
            x[part][i] = middle - by;
            return above - dot(definition(c, x), dk);
          };
          want[i] = (8 * difference(step) - difference(2 * step)) / (12 * step);
          x[part][i] = middle;
        }
        EXPECT_LT(relative_error(got.gradients[part], want), dtype == Dtype::f64 ? 1e-7 : tolerance(dtype))
            << "part " << part;
      }
    }
  }
};

MARA_ON_EVERY_DEVICE(SsmKernel);

TEST_P(SsmKernel, SSM_G3) {
  struct Golden {
    Discretization rule;
    Values k, dlog_dt, dlog_decay, dfrequency, db, dc;
  };
  const Golden goldens[] = {{Discretization::zoh,
                             {-.11699325, -.13475228, -.12931423, -.10382721, -.06303374, -.01266710},
                             {-.18326192},
                             {-.01827372, .04821294},
                             {.01827372, .01875906},
                             {.20556559, .10278280, -.47770006, -.02989967},
                             {.41113118, 0, .32007988, -.21016024}},
                            {Discretization::bilinear,
                             {-.11499566, -.13310761, -.12848536, -.10409388, -.06446262, -.01511472},
                             {-.18135828},
                             {-.01820277, .04688558},
                             {.01827771, .01902509},
                             {.20560462, .10280231, -.47541479, -.03292557},
                             {.41120925, 0, .32006974, -.20712673}}};
  for (const Golden& golden : goldens) {
    const Case c{1, 1, 1, 2, 6, 0, golden.rule};
    Parts x;
    x[kLogDt] = {std::log(.1)}, x[kLogDecay] = {std::log(.5), std::log(.5)}, x[kFrequency] = {0, std::numbers::pi};
    x[kB] = {1, 0, 1, 0}, x[kC] = {.5, -.25, -1, .75};
    Values dk = {1, .5, -1, 2, .25, -.5};
    const Result got = run(c, x, dk, widest(device()));
    expect_close(got.k, golden.k, 1e-7);
    expect_close(got.gradients[kLogDt], golden.dlog_dt, 1e-7);
    expect_close(got.gradients[kLogDecay], golden.dlog_decay, 1e-7);
    expect_close({got.gradients[kFrequency][1]}, {golden.dfrequency[1]}, 1e-7);
    expect_close(got.gradients[kB], golden.db, 1e-7);
    expect_close(got.gradients[kC], golden.dc, 1e-7);
  }
}

TEST_P(SsmKernel, DiagonalEqualsDefinition) {
  for (const Discretization rule : {Discretization::zoh, Discretization::bilinear}) {
    for (const int64_t length : {1, 2, 7, 63, 64, 65, 250, 1000, 1025}) {
      expect_definition({3, 3, 3, 33, length, 0, rule});
      expect_definition({1, 1, 1, 1, length, 0, rule, 2.0});
    }
    expect_definition({24, 12, 4, 2, 100, 0, rule});
    expect_definition({24, 24, 1, 32, 129, 0, rule});
    expect_definition({2, 2, 1, 70, 300, 0, rule, 0.5});
    expect_definition({3, 3, 1, 33, 8192, 0, rule});
    expect_definition({1, 1, 1, 32, 9001, 0, rule});
  }
}

TEST_P(SsmKernel, DplrEqualsDefinition) {
  for (const auto& [period, length] : std::vector<std::pair<int64_t, int64_t>>{
           {2, 1}, {2, 2}, {4, 3}, {8, 8}, {64, 64}, {256, 200}, {512, 512}, {1024, 1000}}) {
    expect_definition({3, 3, 3, 33, length, period});
    expect_definition({1, 1, 1, 1, length, period, Discretization::bilinear, 2.0});
  }
  expect_definition({24, 12, 4, 2, 32, 32});
  expect_definition({24, 24, 1, 32, 20, 32});
  expect_definition({2, 2, 1, 70, 128, 128});
}

TEST_P(SsmKernel, GradientsAreThoseOfTheDefinition) {
  for (const Discretization rule : {Discretization::zoh, Discretization::bilinear}) {
    expect_gradients_of_differences({3, 3, 3, 2, 9, 0, rule});
    expect_gradients_of_differences({4, 2, 1, 3, 40, 0, rule, 0.5});
  }
  expect_gradients_of_differences({3, 3, 3, 2, 8, 8});
  expect_gradients_of_differences({4, 2, 1, 3, 20, 32, Discretization::bilinear, 0.5});
  expect_gradients_of_differences({2, 2, 1, 3, 2, 2});
}

// What the comparisons above would not forgive.
TEST_P(SsmKernel, MistakesAreSeen) {
  for (const int64_t period : {0, 128}) {
    const Case c{3, 3, 1, 8, 128, period};
    Parts x = inputs(c);
    Values dk = noise(c.rows * c.length, 9);
    const Result got = run(c, x, dk, Dtype::f32);
    x[kFrequency][5] *= 1.0001;
    EXPECT_GT(relative_error(got.k, definition(c, x)), rounding_of(Dtype::f32));
    const Result want = run(c, x, dk, Dtype::f64, {});
    for (int i = 0; i < (period > 0 ? kParts : kP); ++i) {
      EXPECT_GT(relative_error(got.gradients[i], want.gradients[i]), rounding_of(Dtype::f32)) << i;
    }
  }
}

// k = C Abar^l Bbar of the dense matrices over modes and conjugates, with c = C (I - Abar^T).
TEST_P(SsmKernel, DplrEqualsPowersOfTheMatrix) {
  const Case c{1, 1, 1, 3, 16, 16};
  Parts x = inputs(c);
  x[kFrequency] = {4.6, 1.7, 0.5};
  const size_t n = 6;
  using Matrix = std::vector<std::vector<Z>>;
  const double dt = std::exp(x[kLogDt][0]);
  std::vector<Z> b(n), full_c(n);
  Matrix minus(n, std::vector<Z>(n)), plus = minus;  // I -+ dt/2 A
  const auto mode = [&](const Values& v, size_t i) {
    const Z value = complex_at(v, static_cast<int64_t>(i % 3));
    return i < 3 ? value : std::conj(value);
  };
  for (size_t i = 0; i < n; ++i) {
    b[i] = dt * mode(x[kB], i), full_c[i] = mode(x[kC], i);
    for (size_t j = 0; j < n; ++j) {
      Z a = -mode(x[kP], i) * std::conj(mode(x[kP], j));
      if (i == j) a += Z(-std::exp(x[kLogDecay][i % 3]), (i < 3 ? 1 : -1) * x[kFrequency][i % 3]);
      minus[i][j] = (i == j ? 1.0 : 0.0) - dt / 2 * a, plus[i][j] = (i == j ? 1.0 : 0.0) + dt / 2 * a;
    }
  }
  for (size_t k = 0; k < n; ++k) {  // Gauss and Jordan: dominated by the diagonal, no pivots needed
    for (size_t i = 0; i < n; ++i) {
      if (i == k) continue;
      const Z factor = minus[i][k] / minus[k][k];
      for (size_t j = 0; j < n; ++j) minus[i][j] -= factor * minus[k][j], plus[i][j] -= factor * plus[k][j];
      b[i] -= factor * b[k];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) plus[i][j] /= minus[i][i];
    b[i] /= minus[i][i];
  }
  const auto times_matrix = [&](const std::vector<Z>& row) {
    std::vector<Z> out(n);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) out[j] += row[i] * plus[i][j];
    }
    return out;
  };
  Values want;
  std::vector<Z> power = full_c;
  for (int64_t l = 0; l < c.period; ++l, power = times_matrix(power)) {
    Z sum = 0;
    for (size_t i = 0; i < n; ++i) sum += power[i] * b[i];
    want.push_back(sum.real());
  }
  for (size_t i = 0; i < 3; ++i) {
    x[kC][2 * i] = (full_c[i] - power[i]).real(), x[kC][2 * i + 1] = (full_c[i] - power[i]).imag();
  }
  Values dk(c.length, 1.0);
  EXPECT_LT(relative_error(run(c, x, dk, widest(device())).k, want), rounding_of(widest(device())));
  x[kP][0] += 0.1;
  EXPECT_GT(relative_error(run(c, x, dk, widest(device())).k, want), 1e-3);
}

TEST_P(SsmKernel, AddsToGradients) {
  for (const int64_t period : {0, 64}) {
    const Case c{6, 3, 1, 5, 40, period};
    Parts x = inputs(c);
    Values dk = noise(c.rows * c.length, 9);
    const Result plain = run(c, x, dk, Dtype::f32),
                 added = run(c, x, dk, Dtype::f32, {.before = 1.5, .device = device()});
    for (int i = 0; i < kParts; ++i) {
      Values want = plain.gradients[i];
      for (double& v : want) v += 1.5;
      expect_close(added.gradients[i], want, 1e-6);
    }
  }
}

TEST_P(SsmKernel, AbsentGradientsAreNotMissed) {
  for (const int64_t period : {0, 64}) {
    const Case c{6, 3, 1, 5, 40, period};
    Parts x = inputs(c);
    Values dk = noise(c.rows * c.length, 9);
    const Result all = run(c, x, dk, Dtype::f32);
    for (int i = 0; i < kParts; ++i) {
      EXPECT_EQ(run(c, x, dk, Dtype::f32, {.only = i, .device = device()}).gradients[i], all.gradients[i]) << i;
    }
  }
}

// The bounds of kernels/ssm_kernel.h: finite at both ends, and no gradient beyond them. With dt a = -2 the bilinear
// lambda is 0.
TEST_P(SsmKernel, ExtremesStayFinite) {
  for (const int64_t period : {0, 64}) {
    for (const Discretization rule : {Discretization::zoh, Discretization::bilinear}) {
      if (period > 0 && rule == Discretization::zoh) continue;
      for (const double log_dt : {-1000.0, -20.0, 0.0, 20.0, 1000.0}) {
        for (const double log_decay : {-1000.0, -20.0, 0.0, 20.0, 1000.0}) {
          for (const double frequency : {-1e30, 0.0, 1e8}) {
            const Case c{1, 1, 1, 1, 50, period, rule, 2.0};
            Parts x = inputs(c);
            x[kLogDt] = {log_dt}, x[kLogDecay] = {log_decay}, x[kFrequency] = {frequency};
            Values dk(c.length, 1.0);
            SCOPED_TRACE(detail::join({to_string(c), " log_dt ", log_dt, " log_decay ", log_decay, " f ", frequency}));
            const Result got = run(c, x, dk, widest(device()));
            for (const double v : got.k) ASSERT_TRUE(std::isfinite(v));
            for (const Values& gradient : got.gradients) {
              for (const double v : gradient) ASSERT_TRUE(std::isfinite(v));
            }
            if (std::fabs(log_dt) > 20) {
              EXPECT_EQ(got.gradients[kLogDt][0], 0);
            }
            if (std::fabs(log_decay) > 20) {
              EXPECT_EQ(got.gradients[kLogDecay][0], 0);
            }
            if (std::fabs(frequency) > 1e8) {
              EXPECT_EQ(got.gradients[kFrequency][0], 0);
            }
          }
        }
      }
    }
  }
}

TEST_P(SsmKernel, BitsDoNotDependOnThreads) {
  if (device().type != DeviceType::cpu) GTEST_SKIP();
  const int threads = thread_count();
  for (const int64_t period : {0, 256}) {
    const Case c{12, 6, 3, 7, 250, period};
    Parts x = inputs(c);
    Values dk = noise(c.rows * c.length, 9);
    set_thread_count(1);
    const Result one = run(c, x, dk, Dtype::f32);
    set_thread_count(2);
    const Result two = run(c, x, dk, Dtype::f32);
    set_thread_count(threads);
    EXPECT_EQ(one.k, two.k);
    EXPECT_EQ(one.gradients, two.gradients);
  }
}

}  // namespace
}  // namespace mara
