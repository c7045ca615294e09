#pragma once
// What a training run needs of a model.

#include <memory>
#include <optional>
#include <vector>

#include "config/fields.h"
#include "core/example_form.h"
#include "nn/context.h"
#include "nn/mixer.h"
#include "ops/loss.h"

namespace mara::models {

/// One micro-batch in device memory. See tasks::Row.
struct Batch {
  Tensor ids = {};      // (B, L) i32, or
  Tensor targets = {};  // (B, T) i32, kernels::kIgnoredTarget where not scored; T is L, or 1 for examples as a whole
  Tensor inputs = {};   // (B, L, F) f32
  Tensor values = {};   // (B, T) f32, what to predict where a target is 0; absent where classes are

  static Batch empty(int64_t rows, const ExampleForm& form, Device device);
};

/// How numbers are kept. compute: matrices and branches; residual: the stream between blocks. Master weights,
/// gradients, statistics and filters are f32 whatever these say; with compute f64 everything is f64.
struct Precision {
  std::string compute = "f32";
  std::string residual = "f32";

  void fields(config::Fields& f);
  Dtype compute_dtype() const { return parse_dtype(compute); }
  Dtype residual_dtype() const;
};

/// Where sequences that are being generated stand.
struct Generation {
  int64_t batch = 0, max_length = 0;
  int64_t length = 0;                                   // positions read
  std::vector<std::unique_ptr<nn::MixerState>> mixers;  // one per application of a mixer
};

class Model : public nn::Module {
 public:
  /// Sum of the token losses, their count, and predictions if asked for.
  virtual ops::Loss loss(const Batch& batch, const nn::Context& context, bool predictions) = 0;
  /// (B, L) ids -> (B, L, padded vocabulary) in the compute dtype.
  /// Throws Error for kinds without a vocabulary().
  virtual Tensor logits(const Tensor& ids, const nn::Context& context);

  /// Tokens of the longest sequence it reads; 0: of kinds that do not generate.
  virtual int64_t longest() const { return 0; }
  /// For generating, position by position: `batch` empty sequences that will have at most `max_length` tokens. Weights
  /// must stay as they are while it is used. Throws Error for models that are not causal or not made for this length,
  /// and for kinds that do not override these two.
  virtual Generation start(int64_t batch, int64_t max_length) const;
  /// Reads the next T >= 1 tokens of every sequence, (B, T) ids, and gives the logits after the last of them: (B,
  /// padded vocabulary), what logits() gives at that position. Nothing is recorded.
  virtual Tensor prefill(const Tensor& ids, Generation& generation) const;
  /// The same for one token each, (B) ids.
  Tensor step(const Tensor& ids, Generation& generation) const {
    return prefill(ids.reshape({ids.numel(), 1}), generation);
  }

  /// Ids it predicts, before padding: at least the data's; 0 for kinds that do not predict a token at every position.
  virtual int64_t vocabulary() const { return 0; }
  /// Whether rotary positions turn queries and keys, which no parameter shows.
  virtual bool turns_positions() const { return false; }
  /// "alias=parameter": what other software knows under a name of its own and is another parameter here; "" if nothing.
  virtual std::string tied() const { return ""; }
};

/// What is around a model; `length` is that of the longest sequence.
struct ModelSetup : ExampleForm {
  Precision precision;
};

class ModelOptions {
 public:
  virtual ~ModelOptions() = default;
  virtual void fields(config::Fields& f, const ModelSetup& setup) = 0;
  virtual std::unique_ptr<Model> make(const ModelSetup& setup) const = 0;
};

/// The recipe's `model:` mapping: a kind and that kind's options.
struct ModelConfig {
  std::string kind = "language_model";
  std::shared_ptr<ModelOptions> options;

  void fields(config::Fields& f, const ModelSetup& setup);
};

}  // namespace mara::models
