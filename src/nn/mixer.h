#pragma once
// Sequence mixers: what a recipe swaps.

#include <memory>
#include <string>

#include "config/fields.h"
#include "nn/context.h"
#include "nn/module.h"

namespace mara::nn {

/// What the model around it tells a mixer when it is made.
struct MixerSetup {
  int64_t width = 0;       // D
  int64_t max_length = 0;  // longest sequence, tokens
  bool causal = true;
  double init_std = 0.02;    // of weight matrices
  double output_std = 0.02;  // of the matrix that writes to the residual stream
  double rotary_base = 0;    // 0: no rotary positions
};

/// (B, L, D) -> (B, L, D) in the compute dtype, L <= max_length.
class SequenceMixer : public Module {
 public:
  virtual Tensor forward(const Tensor& x, const Context& context) = 0;
};

/// A kind's own options: they bind themselves, with the rules between them and the model around, and make the mixer.
class MixerOptions {
 public:
  virtual ~MixerOptions() = default;
  virtual void fields(config::Fields& f, const MixerSetup& setup) = 0;
  virtual std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const = 0;
  /// Whether the kind uses MixerSetup::rotary_base.
  virtual bool supports_rotary() const { return false; }
};

/// The recipe's `mixer:` mapping: a kind and that kind's options.
struct MixerConfig {
  std::string kind = "hyena";
  std::shared_ptr<MixerOptions> options;  // made when the kind is bound

  void fields(config::Fields& f, const MixerSetup& setup);
};

/// Throws Error if the context holds segments or a mask, naming the mixer.
void refuse_segments_and_mask(const char* mixer, const Context& context);

}  // namespace mara::nn
