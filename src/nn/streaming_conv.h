#pragma once
// Causal convolutions that go on from what came before: for generating. None of it is differentiable.

#include <memory>

#include "nn/sequence_cache.h"

namespace mara::nn {

/// One causal convolution per channel, of B sequences that go on. Copies are independent.
class StreamingConv {
 public:
  virtual ~StreamingConv() = default;
  virtual std::unique_ptr<StreamingConv> clone() const = 0;

  /// The next T >= 1 positions of gate_out * conv(gate_in * u), all (W, B, T): what ops::fft_conv gives of the whole
  /// sequence. The gates may be absent. Kept and convolved in f32 (f64 for f64), in u's dtype otherwise.
  Tensor advance(const Tensor& u, const Tensor& gate_in = {}, const Tensor& gate_out = {});

 protected:
  virtual Tensor convolve(const Tensor& u) = 0;  // f32 | f64
};

/// The last `count` positions of (W, B, L).
class RecentInputs {
 public:
  /// `before` (W) is what stands before the sequence.
  RecentInputs(const Tensor& before, int64_t batch, int64_t count);
  /// (W, B, count + T): the positions before u (W, B, T), and u.
  Tensor followed_by(const Tensor& u);
  int64_t count() const { return inputs_.size(2); }

 private:
  Tensor inputs_;  // replaced, never written to: copies may share it
};

/// ops::short_conv position by position, with an input_bias. Keeps the inputs in f32 (f64 for f64).
class StreamingShortConv {
 public:
  StreamingShortConv(const Tensor& weight, const Tensor& bias, const Tensor& input_bias, int64_t batch);
  /// The next T >= 1 positions: (W, B, T) -> (W, B, T).
  Tensor advance(const Tensor& u);

 private:
  Tensor weight_, bias_, input_bias_;
  RecentInputs inputs_;
};

/// Taps (W, K) with a skip (W), which is part of tap 0.
class StreamingTaps {
 public:
  StreamingTaps(const Tensor& taps, const Tensor& skip);
  /// The last `count` positions of the convolution of inputs (W, B, L).
  Tensor last_outputs(const Tensor& inputs, int64_t count) const;
  int64_t channels() const { return forward_.size(0); }
  int64_t count() const { return forward_.size(1); }

 private:
  Tensor forward_, reversed_;
};

/// With taps for every position there will be: keeps all inputs, O(t) work per channel for position t.
class HistoryConv final : public StreamingConv {
 public:
  HistoryConv(const Tensor& taps, const Tensor& skip, int64_t batch)
      : taps_(taps, skip), inputs_({taps.size(0), batch, taps.size(1)}, taps.dtype(), taps.device()) {}
  std::unique_ptr<StreamingConv> clone() const override { return std::make_unique<HistoryConv>(*this); }

 private:
  Tensor convolve(const Tensor& u) override;
  StreamingTaps taps_;
  SequenceCache inputs_;
};

/// With K taps for a sequence of any length: keeps K - 1 inputs, O(K) work per channel and position.
class WindowConv final : public StreamingConv {
 public:
  WindowConv(const Tensor& taps, const Tensor& skip, int64_t batch);
  std::unique_ptr<StreamingConv> clone() const override { return std::make_unique<WindowConv>(*this); }

 private:
  Tensor convolve(const Tensor& u) override { return taps_.last_outputs(inputs_.followed_by(u), u.size(2)); }
  StreamingTaps taps_;
  RecentInputs inputs_;
};

}  // namespace mara::nn
