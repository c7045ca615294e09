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

  /// Long filters where a causal model has one: another for later positions in models that are not.
  int64_t directions() const { return causal ? 1 : 2; }
};

/// What a mixer remembers of the positions it has read. It belongs to the call site: a block that is applied R times
/// to a sequence has R states.
class MixerState {
 public:
  virtual ~MixerState() = default;
  /// Goes on independently of this one.
  virtual std::unique_ptr<MixerState> clone() const = 0;
};

/// (B, L, D) -> (B, L, D) in the compute dtype, L <= longest(max_length).
class SequenceMixer : public Module {
 public:
  virtual Tensor forward(const Tensor& x, const Context& context) = 0;

  /// Longest sequence it reads, if it was made for `max_length` positions: more than those where nothing it learned
  /// belongs to a distance or position.
  virtual int64_t longest(int64_t max_length) const { return max_length; }

  /// For generating, position by position: an empty state of B = batch sequences that will have at most `max_length`
  /// positions. Weights must stay as they are while it is used. Throws Error where an output depends on later
  /// positions, and for kinds that do not override these two. Neither is differentiable: call them under NoGrad.
  virtual std::unique_ptr<MixerState> start(int64_t batch, int64_t max_length) const;
  /// The next T >= 1 positions (B, T, D) of every sequence; gives what forward gives at these positions. A prompt may
  /// come in any pieces.
  virtual Tensor prefill(const Tensor& x, MixerState& state) const;
  /// The next position alone: (B, D) -> (B, D).
  Tensor step(const Tensor& x, MixerState& state) const {
    return prefill(x.reshape({x.size(0), 1, x.size(1)}), state).reshape(x.shape());
  }
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
/// Throws Error, naming the mixer, where it cannot generate because outputs depend on later positions.
void require_causal(const char* mixer, const MixerSetup& setup);

}  // namespace mara::nn
