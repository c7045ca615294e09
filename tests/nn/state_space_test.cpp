#include "nn/state_space.h"

#include <cmath>
#include <set>

#include "core/thrown.h"
#include "nn/dplr_ssm.h"
#include "nn/parameters.h"
#include "nn/ssm_init.h"
#include "ops/shape_ops.h"

namespace mara::nn {
namespace {

constexpr int64_t kChannels = 6, kState = 10, kLength = 64;

DiagonalSsmOptions diagonal(const std::string& init, const std::string& discretization, int64_t systems = 0) {
  DiagonalSsmOptions options;
  options.init = init, options.discretization = discretization;
  options.state = kState, options.systems = systems;
  return options;
}
DplrSsmOptions dplr(int64_t systems = 0) {
  DplrSsmOptions options;
  options.state = kState, options.systems = systems;
  return options;
}

/// A system with memory.
struct Held {
  std::unique_ptr<StateSpace> system;
  ParameterArena arena;

  Held(std::unique_ptr<StateSpace> made, Dtype dtype = Dtype::f64, Device device = kCpu)
      : system(std::move(made)), arena(*system, device, dtype, 7) {}
};

/// What the recurrence answers to an impulse, in portions.
std::vector<double> impulse_response(const StateSpace& system, int64_t length, Dtype dtype = Dtype::f64,
                                     Device device = kCpu) {
  const DiscreteSystem discrete = system.discrete();
  SystemState state(discrete, 1);
  std::vector<double> impulse(static_cast<size_t>(kChannels * length));
  for (size_t h = 0; h < kChannels; ++h) impulse[h * static_cast<size_t>(length)] = 1;
  const Tensor u = Tensor::from(impulse, {kChannels, 1, length}, dtype, device);
  std::vector<Tensor> parts;
  for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, 1}, {1, 1}, {2, length - 2}}) {
    parts.push_back(state.advance(discrete, ops::contiguous(ops::slice(u, 2, begin, count))));
  }
  return ops::concat(parts, 2).to_host();
}

class StateSpaceTest : public OnDevice {};

TEST_P(StateSpaceTest, TheFilterIsTheRecurrence) {
  const Dtype dtype = device() == kCpu ? Dtype::f64 : Dtype::f32;
  const double bound = device() == kCpu ? 1e-10 : 1e-4;
  for (const std::string& init : diagonal_mode_names()) {
    for (const char* rule : {"zoh", "bilinear"}) {
      const Held held(std::make_unique<DiagonalSsm>(diagonal(init, rule, 3), kChannels), dtype, device());
      const std::vector<double> filter = held.system->filter(kLength).to_host();
      EXPECT_LT(relative_error(impulse_response(*held.system, kLength, dtype, device()), filter), bound)
          << init << rule;
    }
  }
  for (const int64_t systems : {0, 1, 2}) {
    const Held held(std::make_unique<DplrSsm>(dplr(systems), kChannels, kLength), dtype, device());
    const std::vector<double> filter = held.system->filter(kLength).to_host();
    EXPECT_LT(relative_error(impulse_response(*held.system, kLength, dtype, device()), filter), bound) << systems;
    // Other weights, too.
    for (const char* name : {"b", "p", "c", "log_dt", "log_decay"}) {
      const Parameter& p = parameter(*held.system, name);
      assign(p, wave(p.shape().numel(), 0.4, 0.7));
    }
    const std::vector<double> changed = held.system->filter(kLength).to_host();
    EXPECT_GT(relative_error(changed, filter), 0.1);
    EXPECT_LT(relative_error(impulse_response(*held.system, kLength, dtype, device()), changed), bound) << systems;
  }
}

MARA_ON_EVERY_DEVICE(StateSpaceTest);

// The learned c of S4 is made of the drawn C and step sizes: what it stands for does not depend on the period.
TEST(DplrSsmTest, InitialFiltersDoNotDependOnThePeriod) {
  const auto filter = [](int64_t max_length, double rate = 1) {
    DplrSsmOptions options = dplr();
    options.rate = rate;
    const Held held(std::make_unique<DplrSsm>(options, kChannels, max_length));
    return held.system->filter(20).to_host();
  };
  const std::vector<double> short_period = filter(20);
  EXPECT_LT(relative_error(filter(100), short_period), 1e-10);
  EXPECT_GT(relative_error(filter(100, 2), short_period), 0.1);
  const Held held(std::make_unique<DplrSsm>(dplr(), kChannels, 20));
  EXPECT_EQ(held.system->filter(32).shape(), (Shape{kChannels, 32}));
  EXPECT_NE(message_of<Error>([&] { held.system->filter(33); }).find("32 positions, 33"), std::string::npos);
}

// A given period is that of the weights; at twice the step half of it is left, and the filter is sampled half as often.
TEST(DplrSsmTest, RateDividesThePeriod) {
  DplrSsmOptions options = dplr();
  options.period = 256, options.dt_min = options.dt_max = 1e-3;
  const Held fine(std::make_unique<DplrSsm>(options, kChannels, 200));
  options.rate = 2;
  const Held coarse(std::make_unique<DplrSsm>(options, kChannels, 100));
  assign(*coarse.system, "c", parameter(*fine.system, "c").master().to_host());
  const std::vector<double> a = coarse.system->filter(128).to_host(), b = fine.system->filter(256).to_host();
  std::vector<double> every_other;
  for (size_t i = 0; i < b.size(); i += 2) every_other.push_back(2 * b[i]);
  EXPECT_LT(relative_error(a, every_other), 0.05);
  EXPECT_THROW(coarse.system->filter(129), Error);
}

// With zoh tap l is the integral of the continuous response over step l, and two steps of half the size cover it.
TEST(DiagonalSsmTest, HalfTheRateSamplesTwiceAsFinely) {
  const auto filter = [](const char* rule, double rate, int64_t length) {
    DiagonalSsmOptions options = diagonal("lin", rule);
    options.rate = rate;
    return Held(std::make_unique<DiagonalSsm>(options, kChannels)).system->filter(length).to_host();
  };
  const std::vector<double> coarse = filter("zoh", 1, kLength), fine = filter("zoh", 0.5, 2 * kLength);
  std::vector<double> pairs;
  for (size_t i = 0; i < fine.size(); i += 2) pairs.push_back(fine[i] + fine[i + 1]);
  EXPECT_LT(relative_error(pairs, coarse), 1e-12);
  EXPECT_GT(relative_error(filter("zoh", 0.5, kLength), coarse), 0.1);  // controls: the rate is used, and by this rule
  EXPECT_GT(relative_error(pairs, filter("bilinear", 1, kLength)), 1e-3);
}

TEST(StateSpaceTest, SSM_G13) {
  DiagonalSsmOptions options;
  options.discretization = "bilinear";
  DiagonalSsm system(options, 512);
  const ParameterArena arena(system, kCpu, Dtype::f32, 3);
  const std::vector<double> filter = system.filter(1001).to_host();
  for (const auto& [l, expected] :
       {std::pair<size_t, double>{0, .162}, {1, .165}, {10, .130}, {100, .054}, {1000, .0034}}) {
    double squares = 0;
    for (size_t h = 0; h < 512; ++h) squares += filter[h * 1001 + l] * filter[h * 1001 + l];
    EXPECT_NEAR(std::sqrt(squares / 512) / expected, 1, 0.2) << l;
  }
}

TEST(StateSpaceTest, SSM_13_hints) {
  DplrSsmOptions options = dplr();
  options.lr_scale = 0.25, options.max_lr = 0.5;
  DplrSsm system(options, kChannels, kLength);
  for (const char* name : {"log_dt", "log_decay", "frequency", "b", "p"}) {
    const ParamHints& hints = parameter(system, name).hints();
    EXPECT_EQ(hints.decay, Decay::never) << name;
    EXPECT_EQ(hints.lr_scale, 0.25f) << name;
    EXPECT_EQ(hints.max_lr, 0.5f) << name;
    EXPECT_EQ(hints.precision, Precision::f32) << name;
  }
  DiagonalSsm real(diagonal("real", "zoh"), kChannels);
  for (const Parameter* p : {&parameter(system, "c"), &parameter(real, "c")}) {
    const ParamHints& c = p->hints();
    EXPECT_EQ(c.decay, Decay::matrix);
    EXPECT_EQ(c.lr_scale, 1);
    EXPECT_EQ(c.max_lr, HUGE_VALF);
    EXPECT_EQ(c.precision, Precision::f32);
  }
  EXPECT_FALSE(parameter(real, "frequency").hints().trainable);
  EXPECT_TRUE(parameter(real, "log_decay").hints().trainable);
}

TEST(DiagonalSsmTest, RandomFrequenciesAreDrawnForEachSystem) {
  DiagonalSsm system(diagonal("random", "zoh"), kChannels);
  const ParameterArena arena(system, kCpu, Dtype::f64, 7);
  const std::vector<double> frequency = parameter(system, "frequency").value().to_host();
  EXPECT_EQ(std::set<double>(frequency.begin(), frequency.end()).size(), frequency.size());
}

TEST(StateSpaceTest, SeveralFiltersShareTheirSystems) {
  const Held one(std::make_unique<DiagonalSsm>(diagonal("lin", "zoh"), kChannels, 1));
  const Held two(std::make_unique<DiagonalSsm>(diagonal("lin", "zoh"), kChannels, 2));
  EXPECT_EQ(two.system->filter(9).narrow(0, kChannels).to_host(), one.system->filter(9).to_host());
  EXPECT_NE(two.system->filter(9).narrow(kChannels, kChannels).to_host(), one.system->filter(9).to_host());
  EXPECT_THROW(two.system->discrete(), Error);
  EXPECT_THROW(Held(std::make_unique<DplrSsm>(dplr(), kChannels, kLength, 2)).system->discrete(), Error);
}

TEST(StateSpaceTest, StatesAreIndependentCopies) {
  const Held held(std::make_unique<DiagonalSsm>(diagonal("lin", "zoh"), kChannels));
  const DiscreteSystem system = held.system->discrete();
  const auto input = [](double phase) {
    return Tensor::from(wave(kChannels * 3, phase), {kChannels, 1, 3}, Dtype::f64, kCpu);
  };
  SystemState state(system, 1);
  state.advance(system, input(0.1));
  SystemState copy(state);
  const std::vector<double> next = state.advance(system, input(0.5)).to_host();
  EXPECT_EQ(copy.advance(system, input(0.5)).to_host(), next);
  EXPECT_NE(SystemState(system, 1).advance(system, input(0.5)).to_host(), next);
  EXPECT_THROW(SystemState(system, 2).advance(system, input(0.5)), Error);
}

}  // namespace
}  // namespace mara::nn
