#include "ops/ssm.h"

#include <complex>

#include "core/thrown.h"
#include "devices.h"
#include "gradient_check.h"
#include "kernels/kernels.h"
#include "op_cases.h"

namespace mara::ops {
namespace {

using Z = std::complex<double>;

/// Parameters of H channels, S systems of M modes and R rows of c, all from waves; decays and steps in usual ranges.
struct Systems {
  int64_t channels = 3, systems = 3, modes = 2, rows = 3;
  Values log_dt, log_decay, frequency, b, c, p;
  double rate = 1;

  Systems(int64_t channels, int64_t systems, int64_t modes, int64_t rows)
      : channels(channels),
        systems(systems),
        modes(modes),
        rows(rows),
        log_dt(wave(channels, 0.3, 0.8)),
        log_decay(wave(systems * modes, 0.7)),
        frequency(wave(systems * modes, 1.9, 6)),
        b(wave(systems * modes * 2, 2.3)),
        c(wave(rows * modes * 2, 0.1)),
        p(wave(systems * modes * 2, 1.1)) {
    for (double& x : log_dt) x -= 2;
  }

  std::vector<Tensor> tensors(Dtype dtype = Dtype::f64, Device device = kCpu) const {
    const auto make = [&](const Values& values, const Shape& shape) {
      return Tensor::from(values, shape, dtype, device);
    };
    return {make(log_dt, {channels}),     make(log_decay, {systems, modes}), make(frequency, {systems, modes}),
            make(b, {systems, modes, 2}), make(c, {rows, modes, 2}),         make(p, {systems, modes, 2})};
  }
  Z a_of(int64_t s, int64_t n) const {
    const auto i = static_cast<size_t>(s * modes + n);
    return {-std::exp(log_decay[i]), frequency[i]};
  }
  Z complex(const Values& pairs, int64_t row, int64_t n) const {
    const auto i = static_cast<size_t>(2 * (row * modes + n));
    return {pairs[i], pairs[i + 1]};
  }
  double dt(int64_t h) const { return rate * std::exp(log_dt[static_cast<size_t>(h)]); }
};

SsmParameters parameters(const std::vector<Tensor>& t, double rate = 1) { return {t[0], t[1], t[2], t[3], t[4], rate}; }

Function diagonal(Discretization rule, int64_t length, double rate = 1) {
  return [=](const std::vector<Tensor>& in) { return diagonal_ssm_filter(parameters(in, rate), rule, length); };
}
Function dplr(int64_t period, int64_t length, double rate = 1) {
  return [=](const std::vector<Tensor>& in) { return dplr_ssm_filter(parameters(in, rate), in[5], period, length); };
}
std::vector<Tensor> without_p(std::vector<Tensor> tensors) {
  tensors.pop_back();
  return tensors;
}

constexpr Discretization kRules[] = {Discretization::zoh, Discretization::bilinear};

Z discrete(Z a, double dt, Discretization rule) {
  return rule == Discretization::zoh ? std::exp(a * dt) : (1.0 + a * dt / 2.0) / (1.0 - a * dt / 2.0);
}
Z input_factor(Z a, double dt, Discretization rule) {
  return rule == Discretization::zoh ? (std::exp(a * dt) - 1.0) / a : dt / (1.0 - a * dt / 2.0);
}

/// By the recurrence x <- lambda x + b phi u of an impulse.
Values recurrence(const Systems& s, Discretization rule, int64_t length) {
  Values k;
  for (int64_t r = 0; r < s.rows; ++r) {
    const int64_t h = r % s.channels, system = h % s.systems;
    std::vector<Z> x(static_cast<size_t>(s.modes));
    for (int64_t l = 0; l < length; ++l) {
      double y = 0;
      for (int64_t n = 0; n < s.modes; ++n) {
        const Z a = s.a_of(system, n);
        Z& state = x[static_cast<size_t>(n)];
        state = discrete(a, s.dt(h), rule) * state;
        if (l == 0) state += s.complex(s.b, system, n) * input_factor(a, s.dt(h), rule);
        y += 2 * (s.complex(s.c, r, n) * state).real();
      }
      k.push_back(y);
    }
  }
  return k;
}

using Matrix = std::vector<std::vector<Z>>;
Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.size(), std::vector<Z>(b[0].size()));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t k = 0; k < b.size(); ++k) {
      for (size_t j = 0; j < b[0].size(); ++j) c[i][j] += a[i][k] * b[k][j];
    }
  }
  return c;
}
/// x of a x = b, by elimination.
Matrix solved(Matrix a, Matrix b) {
  const size_t n = a.size();
  for (size_t i = 0; i < n; ++i) {
    size_t pivot = i;
    for (size_t k = i; k < n; ++k) pivot = std::abs(a[k][i]) > std::abs(a[pivot][i]) ? k : pivot;
    std::swap(a[i], a[pivot]), std::swap(b[i], b[pivot]);
    for (size_t k = 0; k < n; ++k) {
      if (k == i) continue;
      const Z factor = a[k][i] / a[i][i];
      for (size_t j = 0; j < n; ++j) a[k][j] -= factor * a[i][j];
      for (size_t j = 0; j < b[0].size(); ++j) b[k][j] -= factor * b[i][j];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (Z& x : b[i]) x /= a[i][i];
  }
  return b;
}

/// Dense bilinear systems: modes and their conjugates, A = diag(a) - p p*; c is turned into C (I - Abar^T).
Values dense_dplr(const Systems& s, int64_t period, int64_t length, Values& truncated_c) {
  Values k;
  truncated_c.clear();
  for (int64_t r = 0; r < s.rows; ++r) {
    const int64_t h = r % s.channels, system = h % s.systems;
    const size_t half = static_cast<size_t>(s.modes), n = 2 * half;
    std::vector<Z> a(n), b(n), c(n), p(n);
    for (size_t i = 0; i < half; ++i) {
      const auto mode = static_cast<int64_t>(i);
      a[i] = s.a_of(system, mode), b[i] = s.complex(s.b, system, mode);
      c[i] = s.complex(s.c, r, mode), p[i] = s.complex(s.p, system, mode);
      a[half + i] = std::conj(a[i]), b[half + i] = std::conj(b[i]);
      c[half + i] = std::conj(c[i]), p[half + i] = std::conj(p[i]);
    }
    Matrix up(n, std::vector<Z>(n)), down = up, input(n, std::vector<Z>(1)), row(1, c);
    for (size_t i = 0; i < n; ++i) {
      input[i][0] = s.dt(h) * b[i];
      for (size_t j = 0; j < n; ++j) {
        const Z half_step = s.dt(h) / 2 * ((i == j ? a[i] : 0.0) - p[i] * std::conj(p[j]));
        up[i][j] = (i == j ? 1.0 : 0.0) + half_step;
        down[i][j] = (i == j ? 1.0 : 0.0) - half_step;
      }
    }
    const Matrix step = solved(down, up);
    Matrix x = solved(down, input), power = row;
    for (int64_t l = 0; l < length; ++l) {
      k.push_back(product(row, x)[0][0].real());
      x = product(step, x);
    }
    for (int64_t l = 0; l < period; ++l) power = product(power, step);
    for (size_t i = 0; i < half; ++i) {
      truncated_c.push_back((c[i] - power[0][i]).real());
      truncated_c.push_back((c[i] - power[0][i]).imag());
    }
  }
  return k;
}

void expect_values(const Values& actual, const Values& expected, double bound) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], bound) << "at " << i;
}

class SsmTest : public OnDevice {
 protected:
  /// On relative errors against f64, by dtype.
  std::vector<std::pair<Dtype, double>> bounds() const {
    if (device() == kCpu) return {{Dtype::f64, 1e-12}, {Dtype::f32, 1e-5}};
    return {{Dtype::f32, 1e-5}};
  }
};

// The published example: filter and gradients of both rules.
TEST(Ssm, SSM_G3) {
  const std::vector<Tensor> in = {Tensor::from(Values{std::log(0.1)}, {1}, Dtype::f64, kCpu),
                                  Tensor::from(Values{std::log(0.5), std::log(0.5)}, {1, 2}, Dtype::f64, kCpu),
                                  Tensor::from(Values{0, std::acos(-1.0)}, {1, 2}, Dtype::f64, kCpu),
                                  Tensor::from(Values{1, 0, 1, 0}, {1, 2, 2}, Dtype::f64, kCpu),
                                  Tensor::from(Values{0.5, -0.25, -1, 0.75}, {1, 2, 2}, Dtype::f64, kCpu)};
  struct Row {
    Discretization rule;
    Values k, dc, db, dlog_decay, dfrequency, dlog_dt;
  };
  const Row rows[] = {{Discretization::zoh,
                       {-.11699325, -.13475228, -.12931423, -.10382721, -.06303374, -.01266710},
                       {.41113118, 0, .32007988, -.21016024},
                       {.20556559, .10278280, -.47770006, -.02989967},
                       {-.01827372, .04821294},
                       {.01827372, .01875906},
                       {-.18326192}},
                      {Discretization::bilinear,
                       {-.11499566, -.13310761, -.12848536, -.10409388, -.06446262, -.01511472},
                       {.41120925, 0, .32006974, -.20712673},
                       {.20560462, .10280231, -.47541479, -.03292557},
                       {-.01820277, .04688558},
                       {.01820277, .01902509},
                       {-.18135828}}};
  for (const Row& row : rows) {
    Tape tape;
    std::vector<Tensor> tracked;
    for (const Tensor& x : in) tracked.push_back(tape.source(x));
    Tensor k;
    {
      const Recording recording(tape);
      k = diagonal_ssm_filter(parameters(tracked), row.rule, 6);
    }
    expect_values(k.to_host(), row.k, 1e-8);
    tape.backward(k, Tensor::from(Values{1, .5, -1, 2, .25, -.5}, {1, 6}, Dtype::f64, kCpu), {});
    const Values* expected[] = {&row.dlog_dt, &row.dlog_decay, &row.dfrequency, &row.db, &row.dc};
    for (size_t i = 0; i < 5; ++i) expect_values(tape.take_grad(tracked[i]).to_host(), *expected[i], 1e-8);
  }
}

TEST_P(SsmTest, TheDiagonalFilterIsTheRecurrence) {
  for (const int64_t length : {1, 7, 64, 65, 300}) {
    for (const Systems& s : {Systems(3, 3, 5, 3), Systems(6, 2, 1, 12), Systems(1, 1, 40, 2)}) {
      for (const Discretization rule : kRules) {
        const Values expected = recurrence(s, rule, length);
        for (const auto& [dtype, bound] : bounds()) {
          const Values k = diagonal(rule, length)(s.tensors(dtype, device())).to_host();
          EXPECT_LT(relative_error(k, expected), bound) << length << " in " << to_string(dtype);
        }
      }
    }
  }
}

TEST_P(SsmTest, LongFiltersKeepTheirPhase) {
  // Frequencies of S4D-Lin with the largest step: phases of 8e4, which f32 holds to 8e-3 only.
  Systems s(4, 1, 32, 4);
  for (size_t n = 0; n < 32; ++n)
    s.log_decay[n] = std::log(0.005), s.frequency[n] = 3.14159265 * static_cast<double>(n);
  for (double& x : s.log_dt) x = std::log(0.1);
  for (const Discretization rule : kRules) {
    const std::vector<Tensor> f32 = s.tensors(Dtype::f32, device());
    std::vector<Tensor> exact;
    for (const Tensor& x : f32) exact.push_back(Tensor::from(x.to_host(), x.shape(), Dtype::f64, kCpu));
    const Derivative a = differentiate(diagonal(rule, 8192), without_p(f32));
    const Derivative b = differentiate(diagonal(rule, 8192), without_p(exact));
    EXPECT_LT(relative_error(a.value, b.value), 1e-5);
    for (size_t i = 0; i < 5; ++i) EXPECT_LT(relative_error(a.gradients[i], b.gradients[i]), 1e-4) << i;
    // Control: the parameters matter that much.
    s.log_dt[0] += 1e-5;
    EXPECT_GT(relative_error(diagonal(rule, 8192)(s.tensors()).to_host(), b.value), 1e-4);
  }
}

TEST_P(SsmTest, RateStretchesTime) {
  // Twice the step with half the samples: the same function of time.
  Systems s(3, 3, 4, 3);
  for (double& x : s.log_dt) x -= 4;
  const Values fine = diagonal(Discretization::zoh, 64)(s.tensors(Dtype::f32, device())).to_host();
  const Values coarse = diagonal(Discretization::zoh, 32, 2)(s.tensors(Dtype::f32, device())).to_host();
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t l = 0; l < 32; ++l) {
      const double a = coarse[static_cast<size_t>(32 * r + l)], b = 2 * fine[static_cast<size_t>(64 * r + 2 * l)];
      EXPECT_NEAR(a, b, 0.05 * std::fabs(b) + 1e-3);
    }
  }
}

TEST(Ssm, DiagonalGradients) {
  for (const Discretization rule : kRules) {
    expect_gradient(diagonal(rule, 9), without_p(Systems(3, 3, 2, 3).tensors()));
    expect_gradient(diagonal(rule, 70, 0.5), without_p(Systems(6, 2, 3, 12).tensors()));
  }
}

TEST_P(SsmTest, TheDplrFilterIsTheDensePowers) {
  for (const auto& [period, length] : {std::pair<int64_t, int64_t>{2, 2}, {4, 3}, {16, 16}, {64, 50}}) {
    for (Systems s : {Systems(3, 3, 5, 3), Systems(6, 2, 1, 12), Systems(18, 1, 3, 18)}) {
      Values c;
      const Values expected = dense_dplr(s, period, length, c);
      s.c = c;
      for (const auto& [dtype, bound] : bounds()) {
        const Values k = dplr(period, length)(s.tensors(dtype, device())).to_host();
        EXPECT_LT(relative_error(k, expected), bound) << period << " in " << to_string(dtype);
      }
      // Doubling: with C of twice the period the samples stay.
      Values longer;
      Systems twice = s;
      twice.c = wave(s.rows * s.modes * 2, 0.1);
      dense_dplr(twice, 2 * period, length, longer);
      twice.c = longer;
      EXPECT_LT(relative_error(dplr(2 * period, length)(twice.tensors(Dtype::f32, device())).to_host(), expected),
                1e-5);
    }
  }
}

TEST_P(SsmTest, DplrAtLegSFrequencies) {
  // Narrow resonances at high frequencies: half width 1/2 at 1300, as N = 64 has.
  Systems s(3, 1, 32, 3);
  for (size_t n = 0; n < 32; ++n) {
    s.log_decay[n] = std::log(0.5);
    s.frequency[n] = -1300.0 / (1 + 2 * static_cast<double>(n));
  }
  s.log_dt = {std::log(0.1), std::log(0.01), std::log(0.001)};
  const std::vector<Tensor> f32 = s.tensors(Dtype::f32, device());
  std::vector<Tensor> exact;
  for (const Tensor& x : f32) exact.push_back(Tensor::from(x.to_host(), x.shape(), Dtype::f64, kCpu));
  const Derivative a = differentiate(dplr(8192, 8192), f32), b = differentiate(dplr(8192, 8192), exact);
  EXPECT_LT(relative_error(a.value, b.value), 1e-5);
  for (size_t i = 0; i < 6; ++i) EXPECT_LT(relative_error(a.gradients[i], b.gradients[i]), 1e-4) << i;
}

TEST(Ssm, DplrGradients) {
  expect_gradient(dplr(2, 1), Systems(3, 3, 2, 3).tensors());
  expect_gradient(dplr(16, 16), Systems(3, 3, 2, 3).tensors());
  expect_gradient(dplr(64, 41, 0.5), Systems(6, 2, 3, 12).tensors());
}

TEST_P(SsmTest, GradientsAddUp) {
  const std::vector<Tensor> in = Systems(6, 2, 3, 12).tensors(Dtype::f32, device());
  for (const auto& [filter, inputs] :
       {std::pair{diagonal(Discretization::zoh, 20), without_p(in)}, {dplr(32, 20), in}}) {
    std::vector<Values> doubled = parameter_gradients(filter, inputs, 1);
    for (Values& gradient : doubled) {
      for (double& value : gradient) value *= 2;
    }
    expect_near(parameter_gradients(filter, inputs, 2), doubled, 1e-6);
  }
}

// The scan's answer to an impulse is the filter, in one go and in pieces.
TEST_P(SsmTest, TheScanIsTheFilter) {
  const Dtype dtype = device() == kCpu ? Dtype::f64 : Dtype::f32;
  const Systems s(4, 2, 19, 4);
  const int64_t length = 40;
  for (const Discretization rule : kRules) {
    Values lambda, b;
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t n = 0; n < s.modes; ++n) {
        const Z a = s.a_of(h % 2, n), l = discrete(a, s.dt(h), rule);
        const Z in = s.complex(s.b, h % 2, n) * input_factor(a, s.dt(h), rule);
        lambda.insert(lambda.end(), {l.real(), l.imag()});
        b.insert(b.end(), {in.real(), in.imag()});
      }
    }
    const auto make = [&](const Values& values, const Shape& shape) {
      return Tensor::from(values, shape, dtype, device());
    };
    const Shape modes{4, s.modes, 2};
    const Tensor lambdas = make(lambda, modes), bs = make(b, modes), cs = make(s.c, modes);
    Values impulse(4 * 2 * length);
    for (size_t row = 0; row < 8; ++row) impulse[row * length] = 1 + static_cast<double>(row % 2);
    const Tensor u = make(impulse, {4, 2, length}), y = Tensor::empty_like(u);
    const Tensor state = make(Values(4 * 2 * static_cast<size_t>(s.modes) * 2), {4, 2, s.modes, 2});
    auto [k, stream] = kernels::on(device());
    for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 1}, {1, 30}, {31, 9}}) {
      k.ssm_scan(stream, {.lambda = lambdas.view(),
                          .b = bs.view(),
                          .c = cs.view(),
                          .u = slice(u, 2, begin, count).view(),
                          .state = state.view(),
                          .y = slice(y, 2, begin, count).view()});
    }
    const Values filter = diagonal_ssm_filter(parameters(s.tensors(dtype, device())), rule, length).to_host();
    Values expected;
    for (size_t row = 0; row < 8; ++row) {
      for (size_t l = 0; l < 40; ++l) {
        expected.push_back((1 + static_cast<double>(row % 2)) * filter[row / 2 * 40 + l]);
      }
    }
    EXPECT_LT(relative_error(y.to_host(), expected), device() == kCpu ? 1e-10 : 1e-5);
  }
}

TEST_P(SsmTest, SSM_G5) {
  const Dtype dtype = device() == kCpu ? Dtype::f64 : Dtype::f32;
  const double bound = device() == kCpu ? 1e-12 : 1e-6;
  const auto make = [&](const Values& values) { return Tensor::from(values, {1, 4}, dtype, device()); };
  Tape tape;
  const Tensor b = tape.source(make({1, .5, 0, 0})), c = tape.source(make({.2, -.3, .7, .1}));
  Tensor k;
  {
    const Recording recording(tape);
    k = shift_ssm_filter(b, c, 4);
  }
  expect_values(k.to_host(), {.05, .05, .75, .1}, bound);
  tape.backward(k, make({1, -1, 2, .5}), {});
  expect_values(tape.take_grad(b).to_host(), {1.95, -.8, .6, .1}, bound);
  expect_values(tape.take_grad(c).to_host(), {1, -.5, 1.5, 1.5}, bound);
  // b = e_0: the filter is c; longer and shorter ones.
  expect_values(shift_ssm_filter(make({1, 0, 0, 0}), c.detach(), 6).to_host(), {.2, -.3, .7, .1, 0, 0}, bound);
  expect_values(shift_ssm_filter(make({1, 0, 0, 0}), c.detach(), 2).to_host(), {.2, -.3}, bound);
}

TEST(Ssm, ShiftGradients) {
  for (const int64_t length : {3, 5, 9}) {
    const Function filter = [=](const std::vector<Tensor>& in) { return shift_ssm_filter(in[0], in[1], length); };
    expect_gradient(filter, {Tensor::from(wave(10, 0.2), {2, 5}, Dtype::f64, kCpu),
                             Tensor::from(wave(10, 1.2), {2, 5}, Dtype::f64, kCpu)});
  }
}

TEST_P(SsmTest, ExtremeParametersAreBounded) {
  for (const double log_dt : {-1e30, -100.0, -20.0, 20.0, 100.0, 1e30}) {
    for (const double log_decay : {-1e30, -100.0, -20.0, 0.0, 20.0, 100.0, 1e30}) {
      for (const double frequency : {-1e30, 0.0, 1e8, 1e30}) {
        Systems s(2, 2, 2, 2);
        s.log_dt[0] = log_dt, s.log_decay[1] = log_decay, s.frequency[1] = frequency;
        SCOPED_TRACE(std::to_string(log_dt) + " " + std::to_string(log_decay) + " " + std::to_string(frequency));
        const std::vector<Tensor> in = s.tensors(Dtype::f32, device());
        for (const Function& filter :
             {diagonal(Discretization::zoh, 33), diagonal(Discretization::bilinear, 33), dplr(64, 33)}) {
          const Derivative d = differentiate(filter, in);
          for (const double value : d.value) ASSERT_TRUE(std::isfinite(value));
          for (const Values& gradient : d.gradients) {
            for (const double value : gradient) ASSERT_TRUE(std::isfinite(value));
          }
        }
      }
    }
  }
  // The bound itself: what lies beyond acts like it, and moves no further.
  Systems far(1, 1, 1, 1), bound = far;
  far.log_decay = {1e3}, bound.log_decay = {kernels::kSsmExponent};
  const Function filter = diagonal(Discretization::zoh, 5);
  const Derivative a = differentiate(filter, far.tensors(Dtype::f32, device()));
  EXPECT_EQ(a.value, filter(bound.tensors(Dtype::f32, device())).to_host());
  EXPECT_EQ(a.gradients[1], Values{0});
}

TEST(Ssm, RefusesWhatDoesNotFit) {
  const Systems s(4, 2, 3, 4);
  const std::vector<Tensor> in = s.tensors();
  const auto message = [&](const std::function<void()>& call) { return message_of<Error>(call); };
  EXPECT_NE(message([&] { dplr(6, 4)(in); }).find("power of two"), std::string::npos);
  EXPECT_NE(message([&] { dplr(8, 9)(in); }).find("length of 9"), std::string::npos);
  EXPECT_THROW(diagonal(Discretization::zoh, 0)(in), Error);
  EXPECT_THROW(diagonal(Discretization::zoh, 4, 0)(in), Error);
  EXPECT_THROW(diagonal(Discretization::zoh, 4)(Systems(4, 3, 3, 4).tensors()), Error);
  EXPECT_THROW(diagonal(Discretization::zoh, 4)(Systems(4, 2, 3, 5).tensors()), Error);
  EXPECT_THROW(diagonal(Discretization::zoh, 4)(s.tensors(Dtype::bf16)), Error);
  std::vector<Tensor> wrong = in;
  wrong[3] = wrong[4];
  EXPECT_NE(message([&] { diagonal(Discretization::zoh, 4)(wrong); }).find("b must be"), std::string::npos);
  EXPECT_THROW(shift_ssm_filter(in[1], in[1].reshape({3, 2}), 4), Error);
  EXPECT_NO_THROW(diagonal(Discretization::zoh, 4)(in));
}

MARA_ON_EVERY_DEVICE(SsmTest);

}  // namespace
}  // namespace mara::ops
