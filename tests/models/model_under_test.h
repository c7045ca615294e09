#pragma once
// A small language model with reproducible parameters and a batch to read.

#include "core/random.h"
#include "models/language_model.h"
#include "nn/mixer_contract.h"

namespace mara::models {

struct ModelUnderTest {
  /// Of any kind, without a batch. `options` is the inside of the recipe's `model:` mapping.
  ModelUnderTest(const ModelSetup& model_setup, const std::string& options, Device device = kCpu) : setup(model_setup) {
    struct Mapping {
      ModelConfig config;
      const ModelSetup& setup;
      void fields(config::Fields& f) { config.fields(f, setup); }
    } mapping{{}, setup};
    config::Document::parse("{" + options + "}", "model.yaml").read(mapping);
    model = mapping.config.options->make(setup);
    arena.emplace(*model, device, setup.precision.compute_dtype(), 1);
  }
  /// `options` without the kind.
  explicit ModelUnderTest(const std::string& options, Dtype dtype = Dtype::f32, Device device = kCpu,
                          int64_t vocabulary = 13, int64_t length = 8)
      : ModelUnderTest({ExampleForm::tokens(vocabulary, length), {.compute = to_string(dtype)}},
                       "kind: language_model, " + options, device) {
    std::vector<int32_t> tokens(static_cast<size_t>(3 * length));
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>((5 * i + i * i) % vocabulary);
    std::vector<int32_t> next(tokens.begin() + 1, tokens.end());
    next.push_back(0);
    next[4] = kernels::kIgnoredTarget;
    batch = {Tensor::from(tokens, {3, length}, device), Tensor::from(next, {3, length}, device)};
  }

  std::vector<double> logits(const std::vector<int32_t>& ids) const {
    const NoGrad no_grad;
    return model->logits(Tensor::from(ids, batch.ids.shape(), kCpu), {}).to_host();
  }
  std::vector<double> logits() const { return logits(batch.ids.to_host_i32()); }
  double mean_loss() const {
    const NoGrad no_grad;
    const ops::Loss loss = model->loss(batch, {.ids = batch.ids}, false);
    return loss.sum.item() / loss.count.item();
  }
  /// Loss and every gradient.
  std::vector<double> gradients(const nn::Context& context, int64_t* peak = nullptr) {
    Pool pool(kCpu);
    const PoolScope scope(pool);
    int64_t step = 0;
    RandomStream random{.seed = 7, .step = &step};
    const RandomScope random_scope(random);
    arena->begin_step();
    Tape tape;
    ops::Loss loss;
    {
      const Recording recording(tape);
      loss = model->loss(batch, context, false);
    }
    tape.backward(loss.sum);
    arena->finish_step();
    if (peak != nullptr) *peak = pool.peak_bytes();
    std::vector<double> out = arena->grad().to_host();
    out.push_back(loss.sum.item());
    return out;
  }

  /// Of every target.
  std::vector<double> model_losses() const {
    const NoGrad no_grad;
    return model->loss(batch, {.ids = batch.ids}, false).token_loss.to_host();
  }
  /// The gradient, through every layer, against central differences.
  void check_gradient(const std::string& what) {
    nn::assign_waves(*arena, 0.5);
    std::vector<double> gradient = gradients({});
    gradient.pop_back();
    const std::vector<double> before = arena->master().to_host();
    const auto loss = [&](const std::vector<double>& values) {
      std::copy(values.begin(), values.end(), arena->master().view().ptr<double>());
      const NoGrad no_grad;
      return model->loss(batch, {}, false).sum.item();
    };
    nn::expect_parameter_gradient(loss, before, gradient, what);
  }

  ModelSetup setup;
  std::unique_ptr<Model> model;
  std::optional<nn::ParameterArena> arena;
  Batch batch;
};

/// What the recipe reader says of a model's options.
inline std::string error_of(const ModelSetup& setup, const std::string& options) {
  try {
    ModelUnderTest(setup, options);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

inline const std::string kAttention = "mixer: {kind: attention, heads: 2}";
inline const std::string kHyena = "mixer: {kind: hyena, filter: {width: 8, frequency: 3}}";
inline std::string both(const std::string& options, bool hyena) {
  return "width: 12, blocks: 2, " + options + (hyena ? kHyena : kAttention);
}

}  // namespace mara::models
