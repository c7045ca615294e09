#pragma once
// Parameters of state-space systems on the host, in f64.

#include <complex>
#include <vector>

#include "kernels/common/discretize.h"
#include "ops/ssm.h"

namespace mara::nn {

/// (rows, M) complex numbers.
struct HostModes {
  int64_t modes = 0;
  std::vector<std::complex<double>> values;

  HostModes(int64_t rows, int64_t modes) : modes(modes), values(static_cast<size_t>(rows * modes)) {}
  /// Of (rows, M, 2).
  explicit HostModes(const Tensor& x) : HostModes(x.size(0), x.size(1)) {
    const std::vector<double> host = x.to_host();
    for (size_t i = 0; i < values.size(); ++i) values[i] = {host[2 * i], host[2 * i + 1]};
  }
  std::complex<double>& at(int64_t row, int64_t n) { return values[static_cast<size_t>(row * modes + n)]; }
  const std::complex<double>& at(int64_t row, int64_t n) const { return values[static_cast<size_t>(row * modes + n)]; }

  /// (rows, M, 2)
  Tensor upload(Dtype dtype, Device device) const {
    std::vector<double> pairs;
    for (const std::complex<double>& z : values) pairs.insert(pairs.end(), {z.real(), z.imag()});
    return Tensor::from(pairs, {static_cast<int64_t>(values.size()) / modes, modes, 2}, dtype, device);
  }
};

/// By channel h, which uses system h mod S.
class HostSystem {
 public:
  explicit HostSystem(const ops::SsmParameters& p)
      : channels(p.log_dt.size(0)),
        modes(p.log_decay.size(1)),
        systems_(p.log_decay.size(0)),
        rate_(p.rate),
        log_dt_(p.log_dt.to_host()),
        log_decay_(p.log_decay.to_host()),
        frequency_(p.frequency.to_host()),
        b_(p.b) {}

  const int64_t channels, modes;

  double dt(int64_t h) const { return rate_ * kernels::bounded_exp(log_dt_[static_cast<size_t>(h)]).value; }
  std::complex<double> a(int64_t h, int64_t n) const {
    const auto i = static_cast<size_t>(system(h) * modes + n);
    return {-kernels::bounded_exp(log_decay_[i]).value, kernels::bounded_frequency(frequency_[i]).value};
  }
  std::complex<double> b(int64_t h, int64_t n) const { return b_.at(system(h), n); }
  int64_t system(int64_t h) const { return h % systems_; }

 private:
  int64_t systems_;
  double rate_;
  std::vector<double> log_dt_, log_decay_, frequency_;
  HostModes b_;
};

}  // namespace mara::nn
