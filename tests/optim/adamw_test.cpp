#include "optim/adamw.h"

#include <map>

#include "core/thrown.h"
#include "nn/parameters.h"

namespace mara::optim {
namespace {

struct Parameters : nn::Module {
  explicit Parameters(bool single = false) {
    param("a", {single ? 1 : 70}, nn::Init::ones());
    if (single) return;
    // Neighbours differ in the rate alone, then in the decay alone.
    param("b", {3}, nn::Init::normal(1), {.lr_scale = 0.5f});
    param("d", {2}, nn::Init::normal(1), nn::learned_at(0.5));
    param("c", {5}, nn::Init::normal(1), nn::kVector);
    param("e", {4}, nn::Init::normal(1), {.max_lr = 0x1p-12f});
  }
};

// An optimiser with its arena and the device memory a trainer would provide (here: the CPU's).
struct Optimising {
  Optimising(const OptimConfig& config, Dtype dtype, bool single = false)
      : model(single), arena(model, kCpu, dtype, 1), optimizer(make_optimizer(config, arena)) {}

  kernels::StepReport step(const std::vector<double>& gradient, double lr, double count = 1, double loss = 1) {
    const Tensor source = Tensor::from(gradient, arena.grad().shape(), arena.grad().dtype(), kCpu);
    auto [k, stream] = kernels::on(kCpu);
    k.copy(stream, {.x = source.view(), .y = arena.grad().view()});
    scalars.lr = static_cast<float>(lr);
    const auto number = [&](double value) {
      return Tensor::from(std::vector<double>{value}, {1}, arena.grad().dtype(), kCpu);
    };
    optimizer->step({.loss_sum = number(loss), .count = number(count), .scalars = &scalars, .report = &report});
    ++scalars.step;
    return report;
  }
  std::vector<double> gradient(double phase, double scale = 1) const {  // zero in the gaps, as an arena's is
    std::vector<double> out(static_cast<size_t>(arena.grad().numel()));
    for (const nn::ParameterArena::Range& r : arena.ranges()) {
      for (int64_t i = r.begin; i < r.end; ++i) {
        out[static_cast<size_t>(i)] = scale * std::sin(0.7 * static_cast<double>(i) + phase);
      }
    }
    return out;
  }

  Parameters model;
  nn::ParameterArena arena;
  std::unique_ptr<Optimizer> optimizer;
  kernels::StepScalars scalars;
  kernels::StepReport report;
};

// The formula of kernels/optim.h for one element.
struct Scalar {
  double w, m = 0, v = 0;
  void step(double g, double lr, double decay, const OptimConfig& c, int t) {
    m = c.beta1 * m + (1 - c.beta1) * g;
    v = c.beta2 * v + (1 - c.beta2) * g * g;
    w -= lr * (m / (1 - std::pow(c.beta1, t)) / (std::sqrt(v / (1 - std::pow(c.beta2, t))) + c.eps) + decay * w);
  }
};

TEST(AdamW, MatchesTheScalarFormulaWithHints) {
  // 2^-k rates are exact in f32, which the kernel's arguments are.
  const OptimConfig config{
      .lr = 0x1p-10, .beta1 = 0.875, .beta2 = 0.96875, .eps = 0x1p-20, .weight_decay = 0.125, .clip = 2};
  const std::map<std::string, std::pair<double, double>> share_and_decay{
      {"a", {1, 0.125}}, {"b", {0.5, 0.125}}, {"c", {1, 0}}, {"d", {0.5, 0}}, {"e", {0.25, 0.125}}};
  for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
    Optimising setup(config, dtype);
    std::vector<double> initial = setup.arena.master().to_host();
    std::vector<Scalar> expected;
    for (const double w : initial) expected.push_back({w});
    bool clipped = false, unclipped = false;
    for (int t = 1; t <= 5; ++t) {
      const double lr = 0x1p-6 * t, count = 4;
      const std::vector<double> gradient = setup.gradient(t, t % 2 == 0 ? 1 : 3);
      double squares = 0;
      for (const double g : gradient) squares += g * g;
      const double norm = std::sqrt(squares) / count, factor = std::min(1.0, 2 / norm) / count;
      (norm > 2 ? clipped : unclipped) = true;
      const kernels::StepReport report = setup.step(gradient, lr, count);
      EXPECT_NEAR(report.grad_norm, norm, 1e-6 * norm);
      EXPECT_EQ(report.skipped, 0);
      for (const nn::ParameterArena::Range& r : setup.arena.ranges()) {
        const auto& [share, decay] = share_and_decay.at(r.parameter->name());
        for (int64_t i = r.begin; i < r.end; ++i) {
          const auto at = static_cast<size_t>(i);
          expected[at].step(gradient[at] * factor, lr * share, decay, config, t);
        }
      }
    }
    EXPECT_TRUE(clipped && unclipped);
    std::vector<double> w;
    for (const Scalar& s : expected) w.push_back(s.w);
    EXPECT_LT(relative_error(setup.arena.master().to_host(), w), dtype == Dtype::f64 ? 1e-12 : 1e-6);
    EXPECT_GT(relative_error(w, initial), 0.01);  // control: the weights moved
    if (dtype != Dtype::bf16) continue;
    const nn::Parameter& a = nn::parameter(setup.model, "a");  // the compute copy follows
    EXPECT_EQ(a.value().to_host(), Tensor::from(a.master().to_host(), {70}, Dtype::bf16, kCpu).to_host());
  }
}

TEST(AdamW, Parcae_16_7_adamw) {
  Optimising s({.beta1 = .8, .beta2 = .95, .eps = 1e-10, .weight_decay = 0, .clip = 0}, Dtype::f64, true);
  const auto step = [&](double g) {
    std::vector<double> gradient = s.gradient(0, 0);
    gradient[0] = g;
    s.step(gradient, 8e-3);
    return s.arena.master().to_host()[0];
  };
  EXPECT_NEAR(step(.5), 0.9920000000016, 1e-9);  // the kernel's learning rate and betas are f32
  EXPECT_NEAR(step(-.25), 0.9903003268308358, 1e-9);
}

// The published form shrinks by wd lr / peak lr, which is ours with weight_decay = wd / peak lr.
TEST(AdamW, Monarch_17_adamw) {
  Optimising s({.beta1 = .9, .beta2 = .98, .eps = 1e-6, .weight_decay = 1e-5 / 8e-4, .clip = 0}, Dtype::f64, true);
  const auto step = [&](double g, double lr) {
    std::vector<double> gradient = s.gradient(0, 0);
    gradient[0] = g;
    s.step(gradient, lr);
    return s.arena.master().to_host()[0];
  };
  EXPECT_NEAR(step(.5, 4e-4), 0.9995950007999984, 1e-9);
  EXPECT_NEAR(step(-.25, 8e-4), 0.9993713192213799, 1e-9);
}

TEST(AdamW, LeavesWeightsAloneWhereNothingCanBeLearned) {
  for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
    Optimising s({}, dtype);
    const std::vector<double> good = s.gradient(1);
    s.step(good, 0.01);
    const std::vector<double> before = s.arena.master().to_host();
    std::vector<double> bad = good;
    bad[2] = std::nan("");
    EXPECT_EQ(s.step(bad, 0.01).skipped, 1);
    bad[2] = HUGE_VAL;
    EXPECT_EQ(s.step(bad, 0.01).skipped, 1);
    EXPECT_EQ(s.step(good, 0.01, 1, std::nan("")).skipped, 1);  // the loss
    EXPECT_EQ(s.step(good, 0.01, 0).skipped, 1);                // no target was scored
    EXPECT_EQ(s.arena.master().to_host(), before);
    EXPECT_EQ(s.step(good, 0.01).skipped, 0);  // control
    EXPECT_NE(s.arena.master().to_host(), before);
  }
}

TEST(AdamW, SkippedStepsLeaveTheMomentsAlone) {
  Optimising with({}, Dtype::f32), without({}, Dtype::f32);
  std::vector<double> bad = with.gradient(1);
  bad[0] = std::nan("");
  with.step(with.gradient(1), 0.01);
  with.step(bad, 0.01);
  with.step(with.gradient(2), 0.01);
  without.step(without.gradient(1), 0.01);
  ++without.scalars.step;
  without.step(without.gradient(2), 0.01);
  EXPECT_EQ(with.arena.master().to_host(), without.arena.master().to_host());
}

TEST(AdamW, StateIsTwoMomentsPerWeight) {
  const Optimising s({}, Dtype::f32);
  EXPECT_EQ(s.optimizer->memory_bytes(), 2 * 4 * s.arena.master().numel());
}

TEST(OptimConfig, CapsTheLearningRate) {
  const nn::ParamHints half{.lr_scale = 0.5f}, capped{.lr_scale = 0.5f, .max_lr = 1e-3f};
  EXPECT_EQ(OptimConfig{.lr = 1e-2}.lr_scale(half), 0.5f);
  EXPECT_FLOAT_EQ(OptimConfig{.lr = 1e-2}.lr_scale(capped), 0.1f);
  EXPECT_EQ(OptimConfig{.lr = 2e-3}.lr_scale(capped), 0.5f);
  EXPECT_EQ(OptimConfig{.lr = 1e-4}.lr_scale(capped), 0.5f);
}

TEST(OptimConfig, DecaysMatricesOrAllWithoutALearningRateOfTheirOwn) {
  const OptimConfig matrices, all{.decay = "all"};
  EXPECT_EQ(matrices.decay_of({}), 0.1);
  EXPECT_EQ(all.decay_of({}), 0.1);
  EXPECT_EQ(matrices.decay_of(nn::kVector), 0);
  EXPECT_EQ(all.decay_of(nn::kVector), 0.1);
  EXPECT_EQ(all.decay_of(nn::learned_at(1)), 0);
}

TEST(OptimConfig, UnknownDecay) {
  const auto read = [](const std::string& decay) {
    OptimConfig config;
    config::Document::parse("kind: adamw\ndecay: " + decay, "x.yaml").read(config);
    return config.decay;
  };
  EXPECT_EQ(read("all"), "all");
  EXPECT_EQ(message_of<Error>([&] { read("al"); }),
            "x.yaml:2: decay: must be one of matrices, all, got 'al'; did you mean 'all'?");
}

TEST(Optimizer, UnknownKind) {
  Parameters model;
  const nn::ParameterArena arena(model, kCpu, Dtype::f32, 1);
  EXPECT_THROW(make_optimizer({.kind = "sgd"}, arena), Error);
}

}  // namespace
}  // namespace mara::optim
