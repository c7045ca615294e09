#pragma once

#include "nn/linear.h"
#include "nn/mixer.h"
#include "nn/state_space.h"
#include "nn/streaming_conv.h"

namespace mara::nn {

/// The H3 layer (Fu et al., 2212.14052) whatever its filters are made of. One projection gives q, k and v (the three
/// published ones stacked: one product), heads have d = D / heads channels, and
///   k' = conv(k, key filter) + key_skip k                              one filter per channel
///   y = W_out outer_product_heads(q, k', v)                            one memory filter and skip per head
/// that is for d = 1: y = W_out (q (conv(k' v) + skip k' v)). Nothing else: no activation, no short convolution on q
/// and v. The key filter lets a key meet the value of the next position, the memory filter keeps the product until a
/// query asks for it. Models that are not causal add a second memory filter for later positions (lag -(j+1) has tap j);
/// the key filter stays causal.
/// W_out starts like the other matrices, not scaled down with the depth as outputs of other mixers are: the published
/// models are trained so.
class H3Layer : public SequenceMixer {
 public:
  Tensor forward(const Tensor& x, const Context& context) override;
  std::unique_ptr<MixerState> start(int64_t batch, int64_t max_length) const override;
  Tensor prefill(const Tensor& x, MixerState& state) const override;

 protected:
  H3Layer(const char* kind, const MixerSetup& setup, int64_t heads);

  struct Filters {
    Tensor key;              // (D, K), K <= L
    Tensor memory, reverse;  // (heads, L); reverse as ops::fft_conv takes it, undefined if causal
  };
  virtual Filters filters(int64_t length, bool training) const = 0;
  /// The convolutions, with their skips, of at most `max_length` positions.
  virtual std::unique_ptr<StreamingConv> key_stream(int64_t batch, int64_t max_length) const = 0;
  virtual std::unique_ptr<StreamingConv> memory_stream(int64_t batch, int64_t max_length) const = 0;
  Tensor key_skip() const { return key_skip_.value(); }
  Tensor skip() const { return skip_.value(); }

  MixerSetup setup_;
  int64_t heads_;

 private:
  const char* kind_;
  Linear &in_proj_, &out_proj_;
  Parameter &key_skip_, &skip_;
};

struct H3Options : MixerOptions {
  H3Options() { ssm.discretization = "bilinear"; }
  int64_t head_dim = 1;
  int64_t shift_state = 64;
  DiagonalSsmOptions ssm;

  void fields(config::Fields& f, const MixerSetup& setup) override;
  std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const override;
};

/// H3: the key filter is a shift system's, which starts as N random taps, the memory filter a diagonal system's
/// (S4D-Lin, bilinear, as published). Generating keeps the last N - 1 keys and d diagonal states per channel, in f32
/// whatever the model computes in: constant memory and O(N d D) work per position.
class H3 : public H3Layer {
 public:
  H3(const H3Options& options, const MixerSetup& setup);
  int64_t longest(int64_t) const override { return ssm_.longest(); }

 private:
  Filters filters(int64_t length, bool training) const override;
  std::unique_ptr<StreamingConv> key_stream(int64_t batch, int64_t max_length) const override;
  std::unique_ptr<StreamingConv> memory_stream(int64_t batch, int64_t max_length) const override;

  H3Options options_;
  Parameter &shift_b_, &shift_c_;
  DiagonalSsm& ssm_;
};

}  // namespace mara::nn
