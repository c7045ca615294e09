#include "nn/dplr_ssm.h"

#include <bit>
#include <cmath>

#include "core/parallel.h"
#include "nn/complex_matrix.h"
#include "nn/host_system.h"
#include "nn/ssm_init.h"

namespace mara::nn {
namespace {

using Z = std::complex<double>;
using Modes = std::vector<Z>;  // (M)

/// A channel's system in discrete time: Abar x = lambda x - q (2 Re sum_n r[n] x[n]) on the M modes that are kept.
/// With D = 1 / (1 - dt a / 2): Abar = 2 D - 1 - 2 kappa (D p)(p* D), kappa = (dt / 2) / (1 + (dt / 2) p* D p).
struct RankOneStep {
  Modes lambda, q, r, b;

  RankOneStep(double dt, const Modes& a, const Modes& input, const Modes& p) {
    double product = 0, projected = 0;  // p* D p and p* D b over modes and conjugates
    for (size_t n = 0; n < a.size(); ++n) {
      const Z d = 1.0 / (1.0 - 0.5 * dt * a[n]);
      lambda.push_back(2.0 * d - 1.0);
      q.push_back(d * p[n]);
      r.push_back(std::conj(p[n]) * d);
      b.push_back(dt * d * input[n]);
      product += 2 * (r[n] * p[n]).real();
      projected += 2 * (r[n] * input[n]).real();
    }
    const double kappa = 0.5 * dt / (1 + 0.5 * dt * product);
    for (size_t n = 0; n < a.size(); ++n) {
      b[n] -= dt * kappa * projected * q[n];
      q[n] *= 2 * kappa;
    }
  }

  /// c - c Abar^steps, O(M steps) work.
  Modes truncated(const Modes& c, int64_t steps) const {
    Modes row = c;
    for (int64_t step = 0; step < steps; ++step) {
      double feedback = 0;
      for (size_t n = 0; n < row.size(); ++n)
        feedback += 2 * (row[n].real() * q[n].real() - row[n].imag() * q[n].imag());
      for (size_t n = 0; n < row.size(); ++n) row[n] = row[n] * lambda[n] - feedback * r[n];
    }
    for (size_t n = 0; n < row.size(); ++n) row[n] = c[n] - row[n];
    return row;
  }

  /// The c that truncated(c, period) is `row` for, period a power of two.
  Modes restored(const Modes& row, int64_t period) const {
    const int64_t half = static_cast<int64_t>(row.size()), n = 2 * half;
    const auto both = [&](const Modes& x, int64_t i) {
      return i < half ? x[static_cast<size_t>(i)] : std::conj(x[static_cast<size_t>(i - half)]);
    };
    ComplexMatrix power(n);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) power(i, j) = (i == j ? both(lambda, i) : Z(0)) - both(q, i) * both(r, j);
    }
    for (int64_t t = 1; t < period; t *= 2) power = product(power, power);
    std::vector<Z> full;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) power(i, j) = (i == j ? 1.0 : 0.0) - power(i, j);
      full.push_back(both(row, i));
    }
    full = solve_row(std::move(power), std::move(full));
    full.resize(row.size());
    return full;
  }
};

Modes complex_of(const std::vector<double>& real) { return {real.begin(), real.end()}; }

/// C (I - Abar^T) of a drawn C and the drawn step sizes of the parameter log_dt beside it.
Init truncated_c(const SsmModes& modes, const Init& log_dt, int64_t channels, double rate, int64_t period) {
  return Init::drawn([=](int64_t count, uint64_t seed, std::string_view name) {
    const std::string beside(name.substr(0, name.rfind('.') + 1));
    const std::vector<double> steps = log_dt.draw(channels, seed, beside + "log_dt");
    std::vector<double> c = drawn_c().draw(count, seed, name);
    Modes a;
    for (size_t n = 0; n < modes.frequency.size(); ++n)
      a.emplace_back(-std::exp(modes.log_decay[n]), modes.frequency[n]);
    const int64_t numbers = 2 * static_cast<int64_t>(a.size());
    parallel_chunks(count / numbers, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const double dt = rate * std::exp(steps[static_cast<size_t>(r % channels)]);
        double* row = c.data() + r * numbers;
        Modes values;
        for (int64_t i = 0; i < numbers; i += 2) values.emplace_back(row[i], row[i + 1]);
        values = RankOneStep(dt, a, complex_of(modes.b), complex_of(modes.p)).truncated(values, period);
        for (const Z& z : values) *row++ = z.real(), *row++ = z.imag();
      }
    });
    return c;
  });
}

bool power_of_two(double x) {
  int exponent = 0;
  return std::frexp(x, &exponent) == 0.5;
}

int64_t period_of(const DplrSsmOptions& options, int64_t max_length) {
  if (options.period > 0) return std::llround(static_cast<double>(options.period) / options.rate);
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(2, max_length))));
}

}  // namespace

void DplrSsmOptions::fields(config::Fields& f, int64_t channels, int64_t max_length) {
  SsmOptions::fields(f, channels);
  f.field("period", period,
          "longest filter, a power of two, which the weights are bound to; 0: that from the model's longest sequence",
          config::between(0, 1 << 24));
  f.require(power_of_two(rate), "rate",
            detail::join({"must be a power of two, since it divides the period, got ", rate}));
  f.require(period == 0 || std::has_single_bit(static_cast<uint64_t>(period)), "period",
            "must be a power of two or 0, got " + std::to_string(period));
  const int64_t reach = period_of(*this, max_length);
  f.require(reach >= std::max<int64_t>(2, max_length), "period",
            "must reach over the longest sequence, " + std::to_string(max_length) + " positions, at this rate, got " +
                std::to_string(reach));
  // What the weights will be bound to is written down with them: other lengths must not read them as something else.
  if (period == 0) period = std::max<int64_t>(1, std::llround(static_cast<double>(reach) * rate));
}

DplrSsm::DplrSsm(const DplrSsmOptions& options, int64_t channels, int64_t max_length, int64_t filters)
    : options_(options), period_(period_of(options, max_length)) {
  const int64_t modes = options.state / 2, systems = options.systems == 0 ? channels : options.systems;
  const SsmModes initial = legs_modes(options.state);
  const Init log_dt = drawn_log_dt(options.dt_min, options.dt_max);
  log_dt_ = &param("log_dt", {channels}, log_dt, options.hints());
  log_decay_ = &param("log_decay", {systems, modes}, repeated(initial.log_decay), options.hints());
  frequency_ = &param("frequency", {systems, modes}, repeated(initial.frequency), options.hints());
  b_ = &param("b", {systems, modes, 2}, repeated_real(initial.b), options.hints());
  p_ = &param("p", {systems, modes, 2}, repeated_real(initial.p), options.hints());
  c_ = &param("c", {filters * channels, modes, 2}, truncated_c(initial, log_dt, channels, options.rate, period_),
              {.precision = Precision::f32});
}

ops::SsmParameters DplrSsm::parameters() const {
  return {log_dt_->value(), log_decay_->value(), frequency_->value(), b_->value(), c_->value(), options_.rate};
}

Tensor DplrSsm::filter(int64_t length) const {
  MARA_CHECK(length <= period_, "s4: filters reach over ", period_, " positions, ", length,
             " are too many; train with a longer `period`");
  return ops::dplr_ssm_filter(parameters(), p_->value(), period_, length);
}

DiscreteSystem DplrSsm::discrete() const {
  const HostSystem host(parameters());
  const HostModes p(p_->value()), truncated(c_->value());
  check_one_filter(host.channels, c_->shape().dim[0]);
  HostModes lambda(host.channels, host.modes), b = lambda, c = lambda, q = lambda, r = lambda;
  parallel_chunks(host.channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) {
      Modes a, input, vector, row;
      for (int64_t n = 0; n < host.modes; ++n) {
        a.push_back(host.a(h, n)), input.push_back(host.b(h, n));
        vector.push_back(p.at(host.system(h), n)), row.push_back(truncated.at(h, n));
      }
      const RankOneStep step(host.dt(h), a, input, vector);
      row = step.restored(row, period_);
      for (int64_t n = 0; n < host.modes; ++n) {
        const auto i = static_cast<size_t>(n);
        lambda.at(h, n) = step.lambda[i], b.at(h, n) = step.b[i], c.at(h, n) = row[i];
        q.at(h, n) = step.q[i], r.at(h, n) = step.r[i];
      }
    }
  });
  const auto upload = [&](const HostModes& x) { return x.upload(c_->value().dtype(), c_->value().device()); };
  return {upload(lambda), upload(b), upload(c), upload(q), upload(r)};
}

}  // namespace mara::nn
