#include "nn/state_space.h"

#include "kernels/kernels.h"
#include "nn/host_system.h"
#include "nn/ssm_init.h"
#include "ops/elementwise.h"
#include "ops/short_conv.h"

namespace mara::nn {

SystemState::SystemState(const DiscreteSystem& system, int64_t batch)
    : data_(ops::full({system.lambda.size(0), batch, system.lambda.size(1), 2}, 0, system.lambda.dtype(),
                      system.lambda.device())) {}

SystemState::SystemState(const SystemState& other) : data_(Tensor::empty_like(other.data_)) {
  auto [k, stream] = kernels::on(data_.device());
  k.copy(stream, {.x = other.data_.view(), .y = data_.view()});
}

Tensor SystemState::advance(const DiscreteSystem& system, const Tensor& u) {
  MARA_CHECK(u.rank() == 3 && u.contiguous() && u.size(0) == data_.size(0) && u.size(1) == data_.size(1) &&
                 compute_dtype(u.dtype()) == data_.dtype(),
             "state-space system: the state is of ", data_.size(0), " channels of ", data_.size(1),
             " sequences, got contiguous (H, B, T) of ", u.shape(), " ", u.dtype());
  const Tensor y = Tensor::empty_like(u);
  auto [k, stream] = kernels::on(u.device());
  k.ssm_scan(stream, {.lambda = system.lambda.view(),
                      .b = system.b.view(),
                      .c = system.c.view(),
                      .q = system.q.view(),
                      .r = system.r.view(),
                      .u = u.view(),
                      .state = data_.view(),
                      .y = y.view()});
  return y;
}

Tensor SystemConv::convolve(const Tensor& u) {
  return ops::add(state_.advance(system_, u), ops::short_conv(u, skip_, {}));
}

void StateSpace::check_one_filter(int64_t channels, int64_t filters) {
  MARA_CHECK(filters == channels, "state-space system: one filter per channel goes on step by step, got ", filters,
             " of ", channels, " channels");
}

void SsmOptions::fields(config::Fields& f, int64_t channels) {
  f.field("state", state, "numbers in the state of a channel, N: pairs of conjugates", config::between(2, 1 << 14));
  f.field("dt_min", dt_min, "smallest initial step size", config::between(1e-8, 1e8));
  f.field("dt_max", dt_max, "largest initial step size", config::between(1e-8, 1e8));
  f.field("systems", systems, "different ones, shared by the channels (h3: heads) in turn; 0: one each",
          config::at_least(0));
  f.field("lr_scale", lr_scale, "learning rate of step sizes and systems but c, times the model's; 0: constants",
          config::at_least(0));
  f.field("max_lr", max_lr, "what optim.lr gives them at most; the schedule multiplies it", config::above(0));
  f.field("rate", rate, "times the step sizes: 2 for signals sampled half as often as in training",
          config::between(1e-6, 1e6));
  f.require(state % 2 == 0, "state", "must be even, states come in pairs of conjugates; got " + std::to_string(state));
  f.require(dt_min <= dt_max, "dt_min", detail::join({"must be at most dt_max = ", dt_max, ", got ", dt_min}));
  f.require(systems == 0 || channels % systems == 0, "systems",
            "must divide the number of channels (h3: heads), " + std::to_string(channels) + ", got " +
                std::to_string(systems));
}

ParamHints SsmOptions::hints() const {
  ParamHints hints = learned_at(lr_scale);
  hints.max_lr = static_cast<float>(max_lr);
  return hints;
}

void DiagonalSsmOptions::fields(config::Fields& f, int64_t channels) {
  SsmOptions::fields(f, channels);
  f.field("init", init, "the modes of a system", config::one_of(diagonal_mode_names()));
  f.field("discretization", discretization, "of the continuous system", config::one_of({"zoh", "bilinear"}));
}

DiagonalSsm::DiagonalSsm(const DiagonalSsmOptions& options, int64_t channels, int64_t filters) : options_(options) {
  const int64_t modes = options.state / 2, systems = options.systems == 0 ? channels : options.systems;
  const SsmModes initial = diagonal_modes(options.init, options.state);
  ParamHints frequency_hints = options.hints();
  if (options.init == "real") frequency_hints.trainable = false;
  const bool drawn = options.init == "random";
  log_dt_ = &param("log_dt", {channels}, drawn_log_dt(options.dt_min, options.dt_max), options.hints());
  log_decay_ = &param("log_decay", {systems, modes}, repeated(initial.log_decay), options.hints());
  frequency_ =
      &param("frequency", {systems, modes}, drawn ? drawn_frequency() : repeated(initial.frequency), frequency_hints);
  b_ = &param("b", {systems, modes, 2}, repeated_real(initial.b), options.hints());
  c_ = &param("c", {filters * channels, modes, 2}, drawn_c(), {.precision = Precision::f32});
}

ops::SsmParameters DiagonalSsm::parameters() const {
  return {log_dt_->value(), log_decay_->value(), frequency_->value(), b_->value(), c_->value(), options_.rate};
}

ops::Discretization DiagonalSsm::rule() const {
  return options_.discretization == "zoh" ? ops::Discretization::zoh : ops::Discretization::bilinear;
}

Tensor DiagonalSsm::filter(int64_t length) const { return ops::diagonal_ssm_filter(parameters(), rule(), length); }

DiscreteSystem DiagonalSsm::discrete() const {
  const HostSystem host(parameters());
  check_one_filter(host.channels, c_->shape().dim[0]);
  HostModes lambda(host.channels, host.modes), b = lambda;
  for (int64_t h = 0; h < host.channels; ++h) {
    for (int64_t n = 0; n < host.modes; ++n) {
      const kernels::DiscreteMode mode = kernels::discretize(host.a(h, n), host.dt(h), rule());
      lambda.at(h, n) = mode.lambda;
      b.at(h, n) = host.b(h, n) * mode.phi;
    }
  }
  const auto upload = [&](const HostModes& x) { return x.upload(c_->value().dtype(), c_->value().device()); };
  return {upload(lambda), upload(b), c_->value().detach(), {}, {}};
}

}  // namespace mara::nn
