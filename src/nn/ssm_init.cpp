#include "nn/ssm_init.h"

#include <cmath>
#include <numbers>

#include "nn/complex_matrix.h"

namespace mara::nn {
namespace {

constexpr double kPi = std::numbers::pi;

}  // namespace

LegS legs(int64_t state) {
  LegS out{std::vector<double>(static_cast<size_t>(state * state)), {}, {}};
  const auto root = [](int64_t i) { return std::sqrt(2 * static_cast<double>(i) + 1); };
  for (int64_t i = 0; i < state; ++i) {
    for (int64_t j = 0; j < i; ++j) out.a[static_cast<size_t>(i * state + j)] = -root(i) * root(j);
    out.a[static_cast<size_t>(i * state + i)] = -static_cast<double>(i + 1);
    out.b.push_back(root(i));
    out.p.push_back(root(i) / std::numbers::sqrt2);
  }
  return out;
}

SsmModes legs_modes(int64_t state) {
  const LegS system = legs(state);
  // S = a + p p^T = -1/2 + K with K skew-symmetric: -i K is Hermitian, its eigenvalues are the frequencies.
  ComplexMatrix hermitian(state);
  for (int64_t i = 0; i < state; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      const double k = system.a[static_cast<size_t>(i * state + j)] +
                       system.p[static_cast<size_t>(i)] * system.p[static_cast<size_t>(j)];
      hermitian(i, j) = {0, -k};
      hermitian(j, i) = {0, k};
    }
  }
  const Eigen modes = eigen(std::move(hermitian));
  SsmModes out;
  for (int64_t n = 0; n < state / 2; ++n) {
    std::complex<double> p = 0;
    for (int64_t i = 0; i < state; ++i) p += std::conj(modes.vectors(i, n)) * system.p[static_cast<size_t>(i)];
    out.log_decay.push_back(std::log(0.5));
    out.frequency.push_back(modes.values[static_cast<size_t>(n)]);
    out.p.push_back(std::abs(p));
    out.b.push_back(std::numbers::sqrt2 * std::abs(p));
  }
  return out;
}

const std::vector<std::string>& diagonal_mode_names() {
  static const std::vector<std::string> names = {"lin", "inv", "inv2", "quad", "legs", "real", "random"};
  return names;
}

SsmModes diagonal_modes(const std::string& name, int64_t state) {
  if (name == "legs") {
    SsmModes out = legs_modes(state);
    out.p.clear();
    return out;
  }
  const double total = static_cast<double>(state);
  SsmModes out;
  for (int64_t i = 0; i < state / 2; ++i) {
    const double n = static_cast<double>(i);
    double frequency = 0;
    if (name == "lin") frequency = kPi * n;
    if (name == "inv") frequency = total / kPi * (total / (2 * n + 1) - 1);
    if (name == "inv2") frequency = total / kPi * (total / (n + 1) - 1);
    if (name == "quad") frequency = (2 * n + 1) * (2 * n + 1) / kPi;
    out.log_decay.push_back(name == "real" ? std::log(n + 1) : std::log(0.5));
    out.frequency.push_back(frequency);
    out.b.push_back(1);
  }
  return out;
}

Init repeated(std::vector<double> modes) {
  return Init::values([modes = std::move(modes)](int64_t i) { return modes[static_cast<size_t>(i) % modes.size()]; });
}

Init repeated_real(std::vector<double> modes) {
  return Init::values([modes = std::move(modes)](int64_t i) {
    return i % 2 == 0 ? modes[static_cast<size_t>(i / 2) % modes.size()] : 0.0;
  });
}

Init drawn_frequency() {
  return Init::drawn([](int64_t count, uint64_t seed, std::string_view name) {
    std::vector<double> out = Init::normal(1).draw(count, seed, name);
    for (double& value : out) value = std::exp(value);
    return out;
  });
}

Init drawn_log_dt(double dt_min, double dt_max) { return Init::uniform(std::log(dt_min), std::log(dt_max)); }

Init drawn_c() { return Init::normal(std::sqrt(0.5)); }

}  // namespace mara::nn
