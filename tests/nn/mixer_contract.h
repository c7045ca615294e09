#pragma once
// What every mixer must satisfy. A new mixer's test is one call of check_mixer per way of configuring it.

#include <algorithm>
#include <optional>
#include <string>

#include "autograd/recompute.h"
#include "core/pool.h"
#include "core/random.h"
#include "gradient_check.h"
#include "nn/mixer.h"
#include "nn/parameters.h"
#include "ops/elementwise.h"
#include "ops/shape_ops.h"

namespace mara::nn {

struct MixerCase {
  std::string options;  // inside of the recipe's flow mapping: "kind: hyena, order: 3"
  bool causal = true;
  double rotary_base = 0;
  int64_t width = 6, length = 12;
  bool generates = true;        // of causal mixers; others never do
  bool constant_state = false;  // goes on beyond the positions that were asked for
  bool rescaled_output = true;  // the output map starts from MixerSetup::output_std
};
inline std::ostream& operator<<(std::ostream& out, const MixerCase& c) {
  return out << c.options << (c.causal ? "" : ", bidirectional");
}

/// A mixer with parameters that are neither small nor zero.
struct MixerUnderTest {
  MixerUnderTest(const MixerCase& c, Dtype dtype, Device device = kCpu, std::optional<bool> causal = {})
      : setup{.width = c.width,
              .max_length = c.length,
              .causal = causal.value_or(c.causal),
              .rotary_base = c.rotary_base},
        mixer(make(c, setup)),
        arena(*mixer, device, dtype, 1) {
    assign_waves(arena, 0.8);
    x = Tensor::from(wave(2 * c.length * c.width, 0.3), {2, c.length, c.width}, dtype, device);
  }
  static std::unique_ptr<SequenceMixer> make(const MixerCase& c, const MixerSetup& setup) {
    struct Mapping {
      MixerConfig config;
      const MixerSetup& setup;
      void fields(config::Fields& f) { config.fields(f, setup); }
    } mapping{{}, setup};
    config::Document::parse("{" + c.options + "}", "mixer.yaml").read(mapping);
    return mapping.config.options->make(setup);
  }

  Tensor forward(const Tensor& input) const {
    const NoGrad no_grad;
    return mixer->forward(input, {});
  }

  MixerSetup setup;
  std::unique_ptr<SequenceMixer> mixer;
  ParameterArena arena;
  Tensor x;
};

/// Result and all gradients of `layers` applications (the same mixer again, as in a looped block).
struct MixerRun {
  std::vector<double> y, dx, dparameters;
  int64_t peak_bytes = 0;

  MixerRun(MixerUnderTest& m, const std::vector<double>& dy, int layers = 1, bool recomputed = false) {
    Pool pool(m.x.device());
    const PoolScope scope(pool);
    m.arena.begin_step();
    Tape tape;
    const Tensor source = tape.source(m.x);
    Tensor out = source;
    {
      const Recording recording(tape);
      const auto layer = [&](const Inputs& in) { return ops::add(in[0], m.mixer->forward(in[0], {})); };
      if (layers == 1 && !recomputed) {
        out = m.mixer->forward(out, {});
      } else {
        for (int i = 0; i < layers; ++i) out = recomputed ? recompute(layer, {out}) : layer({out});
      }
    }
    y = out.to_host();
    tape.backward(out, Tensor::from(dy, out.shape(), out.dtype(), out.device()), {});
    m.arena.finish_step();
    const Tensor gradient = tape.take_grad(source);
    if (gradient.defined()) dx = gradient.to_host();
    dparameters = m.arena.grad().to_host();
    peak_bytes = pool.peak_bytes();
  }
};

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// A parameter's gradient against central differences along a direction, relative to its length. The direction is half
/// random, half the gradient itself, so that it cannot be across it.
template <class Loss>
void expect_parameter_gradient(const Loss& loss, const std::vector<double>& at, const std::vector<double>& gradient,
                               const std::string& what) {
  const double length = std::sqrt(dot(gradient, gradient));
  ASSERT_GT(length, 1e-9) << what << ": the gradient is zero, so nothing is tested";
  std::vector<double> direction = wave(static_cast<int64_t>(at.size()), 0.9);
  const double norm = std::sqrt(dot(direction, direction));
  for (size_t i = 0; i < at.size(); ++i) direction[i] = direction[i] / norm + gradient[i] / length;
  constexpr double kStep = 1e-5;
  const auto moved = [&](double by) {
    std::vector<double> out = at;
    for (size_t i = 0; i < out.size(); ++i) out[i] += by * direction[i];
    return loss(out);
  };
  const double numeric = (moved(kStep) - moved(-kStep)) / (2 * kStep);
  EXPECT_NEAR(dot(gradient, direction) / length, numeric / length, 1e-6) << what;
}

inline void check_gradients(const MixerCase& c) {
  MixerUnderTest m(c, Dtype::f64);
  const std::vector<double> dy = wave(m.x.numel(), 2.1);
  expect_gradient([&](const Inputs& in) { return m.mixer->forward(in[0], {}); }, {m.x});
  const MixerRun run(m, dy);
  for (const Parameter* p : m.arena.parameters()) {
    const std::vector<double> before = p->master().to_host();
    const auto at_parameter = [&](const std::vector<double>& values) {
      assign(*p, values);
      return dot(m.forward(m.x).to_host(), dy);
    };
    expect_parameter_gradient(at_parameter, before, p->grad().to_host(), p->name());
    assign(*p, before);
  }
}

/// How much of a change at one position reaches earlier positions, and how much of a gradient at one position
/// reaches later ones; relative to what reaches the allowed side. 0 to rounding for a causal mixer.
struct Leak {
  double forward = 0, backward = 0;
};
inline Leak leak(const MixerCase& c, bool causal) {
  MixerUnderTest m(c, Dtype::f64, kCpu, causal);
  const int64_t rows = c.length * c.width;
  const auto worst = [&](const std::vector<double>& a, const std::vector<double>& b, int64_t position, bool before) {
    double inside = 0, outside = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const int64_t l = static_cast<int64_t>(i) % rows / c.width;
      double& side = l == position ? inside : ((l < position) == before ? outside : inside);
      side = std::max(side, std::fabs(a[i] - b[i]));
    }
    EXPECT_GT(inside, 1e-4) << "the position itself must feel the change";
    return outside / inside;
  };
  const std::vector<double> x = m.x.to_host(), y = m.forward(m.x).to_host();
  const std::vector<double> zero(x.size());
  Leak out;
  for (const int64_t position : {int64_t{1}, c.length / 2, c.length - 1}) {
    std::vector<double> changed = x, dy(x.size());
    for (int64_t i = 0; i < c.width; ++i) {
      const auto at = static_cast<size_t>(position * c.width + i);
      changed[at] += 1 + static_cast<double>(i);
      dy[at - static_cast<size_t>(c.width)] = 1;  // the gradient of the position before
    }
    const Tensor input = Tensor::from(changed, m.x.shape(), Dtype::f64, kCpu);
    out.forward = std::max(out.forward, worst(m.forward(input).to_host(), y, position, true));
    out.backward = std::max(out.backward, worst(MixerRun(m, dy).dx, zero, position - 1, false));
  }
  return out;
}

inline void check_causality(const MixerCase& c) {
  constexpr double kRounding = 1e-12;
  if (c.causal) {
    const Leak none = leak(c, true);
    EXPECT_LT(none.forward, kRounding);
    EXPECT_LT(none.backward, kRounding);
  }
  const Leak control = leak(c, false);  // the bidirectional form must be caught
  EXPECT_GT(control.forward, 1e-4);
  EXPECT_GT(control.backward, 1e-4);
}

inline void check_recompute(const MixerCase& c) {
  MixerUnderTest m(c, Dtype::f32);
  assign_waves(m.arena, 0.2);
  const std::vector<double> dy = wave(m.x.numel(), 2.1);
  const MixerRun saved(m, dy, 6), again(m, dy, 6, true);
  EXPECT_EQ(saved.y, again.y);
  EXPECT_EQ(saved.dx, again.dx);
  EXPECT_EQ(saved.dparameters, again.dparameters);
  EXPECT_LT(again.peak_bytes, saved.peak_bytes);
  EXPECT_NE(saved.y, MixerRun(m, dy, 5).y);  // control: the comparison sees a layer
}

inline void check_precision(const MixerCase& c) {
  const MixerUnderTest exact(c, Dtype::f64);
  const std::vector<double> y = exact.forward(exact.x).to_host();
  for (const Device device : devices_present()) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      MixerUnderTest m(c, dtype, device);
      const Tensor out = m.forward(m.x);
      EXPECT_EQ(out.dtype(), dtype);
      EXPECT_LT(relative_error(out.to_host(), y), 3 * tolerance(dtype)) << to_string(dtype);
      for (const double value : MixerRun(m, wave(m.x.numel(), 2.1)).dparameters) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

/// The deviation of what a parameter starts from.
inline double initial_deviation(const Parameter& p) {
  const std::vector<double> values = p.init().draw(4000, 1, p.name());
  return std::sqrt(dot(values, values) / 4000);
}

inline void check_initial_values(const MixerCase& c) {
  const MixerSetup setup{
      .width = c.width, .max_length = c.length, .causal = c.causal, .init_std = 0.02, .output_std = 0.005};
  const std::unique_ptr<SequenceMixer> mixer = MixerUnderTest::make(c, setup);
  for (const std::string& name : names(*mixer)) {
    const auto expect_start = [&](double deviation) {
      EXPECT_NEAR(initial_deviation(parameter(*mixer, name)) / deviation, 1, 0.1) << name;
    };
    if (name == "in_proj.weight") expect_start(setup.init_std);
    if (name == "out_proj.weight" || name == "output.proj.weight") {
      expect_start(c.rescaled_output ? setup.output_std : setup.init_std);
    }
    if (name == "skip" || name == "key_skip") expect_start(1);
  }
}

/// For `m`, which drops, and `without`, the same but for that: `ops` draws in training, none otherwise.
inline void expect_dropout_in_training(const MixerUnderTest& m, const MixerUnderTest& without, uint32_t ops) {
  int64_t step = 0;
  RandomStream random{.seed = 3, .step = &step};
  const RandomScope scope(random);
  EXPECT_EQ(m.forward(m.x).to_host(), without.forward(m.x).to_host());
  EXPECT_EQ(random.next_op, 0u);
  const std::vector<double> dropped = m.mixer->forward(m.x, {.training = true}).to_host();
  EXPECT_EQ(random.next_op, ops);
  EXPECT_GT(relative_error(dropped, m.forward(m.x).to_host()), 0.01);
}

/// Of a bidirectional mixer that has nothing but the filter for later positions, lag -(j+1) with tap j: its last
/// position sees nothing, itself included, and the others do.
inline void expect_last_position_blind(const MixerUnderTest& m) {
  const std::vector<double> y = m.forward(m.x).to_host();
  const Tensor other = Tensor::from(wave(m.x.numel(), 1.7), m.x.shape(), Dtype::f64, kCpu);
  const std::vector<double> z = m.forward(other).to_host();
  for (size_t i = 0, row = y.size() / 2, width = static_cast<size_t>(m.setup.width); i < width; ++i) {
    for (const size_t end : {row, 2 * row}) EXPECT_NEAR(y[end - width + i], z[end - width + i], 1e-12);
  }
  EXPECT_GT(relative_error(z, y), 0.01);
}

inline void check_shapes_and_refusals(const MixerCase& c) {
  MixerUnderTest m(c, Dtype::f32);
  EXPECT_EQ(m.forward(m.x).shape(), m.x.shape());
  const Tensor mask = Tensor::from(std::vector<int32_t>(static_cast<size_t>(2 * c.length), 1), {2, c.length}, kCpu);
  EXPECT_THROW(m.mixer->forward(m.x, {.segments = mask}), Error);
  EXPECT_THROW(m.mixer->forward(m.x, {.mask = mask}), Error);
}

/// Positions in portions: what prefill gives of m.x, portion after portion.
inline std::vector<double> in_portions(const MixerUnderTest& m, const std::vector<int64_t>& portions) {
  const NoGrad no_grad;
  const std::unique_ptr<MixerState> state = m.mixer->start(m.x.size(0), m.x.size(1));
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t count : portions) {
    parts.push_back(m.mixer->prefill(ops::contiguous(ops::slice(m.x, 1, begin, count)), *state));
    begin += count;
  }
  return ops::concat(parts, 1).to_host();
}

/// Position by position, and in odd portions, a mixer gives what forward gives.
inline void check_generation(const MixerCase& c) {
  for (const Device device : devices_present()) {
    for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
      if (device != kCpu && dtype == Dtype::f64) continue;
      const MixerUnderTest m(c, dtype, device);
      if (!c.causal || !c.generates) {
        EXPECT_THROW(m.mixer->start(1, c.length), Error);
        continue;
      }
      const std::vector<double> whole = m.forward(m.x).to_host();
      const std::vector<int64_t> steps(static_cast<size_t>(c.length), 1);
      for (const std::vector<int64_t>& portions : {{c.length}, steps, {3, 1, 1, c.length - 5}, {1, c.length - 2, 1}}) {
        EXPECT_LT(relative_error(in_portions(m, portions), whole), tolerance(dtype))
            << to_string(dtype) << " portions of " << portions[0] << ", " << portions.back();
      }
    }
  }
  if (!c.causal || !c.generates) return;

  const MixerUnderTest m(c, Dtype::f64);
  const NoGrad no_grad;
  const auto token = [&](int64_t l) { return ops::contiguous(ops::slice(m.x, 1, l, 1)).reshape({2, c.width}); };
  const std::unique_ptr<MixerState> state = m.mixer->start(2, 4);
  m.mixer->step(token(0), *state);
  m.mixer->step(token(1), *state);
  const std::unique_ptr<MixerState> copy = state->clone(), other = state->clone();
  const std::vector<double> next = m.mixer->step(token(2), *state).to_host();
  m.mixer->step(token(4), *other);
  EXPECT_EQ(m.mixer->step(token(2), *copy).to_host(), next);  // neither the original nor another copy disturbed it
  const std::vector<double> last = m.mixer->step(token(3), *copy).to_host();
  EXPECT_NE(m.mixer->step(token(3), *other).to_host(), last);  // control: the past matters
  if (c.constant_state) {
    EXPECT_NO_THROW(m.mixer->step(token(5), *copy));
  } else {
    EXPECT_THROW(m.mixer->step(token(5), *copy), Error);  // four positions were asked for
  }
}

/// Memory that does not grow while a mixer of constant state goes on.
inline void check_constant_state(const MixerCase& c) {
  const MixerUnderTest m(c, Dtype::f32);
  Pool pool(kCpu);
  const PoolScope scope(pool);
  const NoGrad no_grad;
  const std::unique_ptr<MixerState> state = m.mixer->start(2, 1000);
  const Tensor x = Tensor::from(wave(2 * c.width, 0.3), {2, c.width}, Dtype::f32, kCpu);
  m.mixer->step(x, *state);
  m.mixer->step(x, *state);
  const int64_t live = pool.live_bytes(), peak = pool.peak_bytes();
  for (int i = 0; i < 200; ++i) m.mixer->step(x, *state);
  EXPECT_EQ(pool.live_bytes(), live);
  EXPECT_EQ(pool.peak_bytes(), peak);
  m.mixer->prefill(m.x, *state);
  EXPECT_GT(pool.peak_bytes(), peak);  // control: the pool counts
}

inline void check_mixer(const MixerCase& c) {
  check_shapes_and_refusals(c);
  check_initial_values(c);
  check_gradients(c);
  check_causality(c);
  check_recompute(c);
  check_precision(c);
  check_generation(c);
  if (c.constant_state) check_constant_state(c);
}

}  // namespace mara::nn
