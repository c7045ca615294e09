#pragma once

#include "nn/implicit_filter.h"
#include "nn/mixer.h"
#include "nn/outer_product.h"

namespace mara::nn {

struct HyenaOptions : MixerOptions {
  int64_t order = 2;
  int64_t short_taps = 3;
  int64_t inner_factor = 1;
  int64_t heads = 1;
  bool mix_heads = false;
  int64_t blocks = 1;
  double dropout = 0;
  std::string activation = "identity";
  bool skip = true;
  ImplicitFilterOptions filter;

  void fields(config::Fields& f, const MixerSetup& setup) override;
  std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const override;
};

/// The Hyena operator of order N (Poli et al., 2302.10866). The projection to (N + 1) W channels (W = inner_factor
/// times the width) is followed by a causal depthwise convolution and split into x_0, ..., x_{N-1}, v; then
///   v <- conv(dropout(v x_{N-1-o}), k_o) + skip_o v x_{N-1-o}   for o = 0 .. N-2
///   y = W_out act(v x_0)
/// with N - 1 implicit filters per channel; filter o of channel d is row d (N-1) + o of the filter network. The gates
/// are fused into the convolution where nothing stands between them, and with order 2 and long bf16 rows the short
/// convolutions are too (ops::hyena_conv). Models that are not causal add a second filter for later positions (lag
/// -(j+1) has tap j); the short convolution stays causal. `blocks` cuts the sequence into pieces that are mixed on
/// their own. With several heads there are filters and skips for the W / heads channels of one, which all share;
/// `mix_heads` replaces the heads by learned combinations of them after each convolution, head h by sum_g M_o[g, h]
/// v_g. Generating keeps the gated inputs of each long convolution and its taps, and the short convolution's last
/// inputs: O(N t W) work for position t, and (N - 1) L W numbers per sequence. The skip is part of tap 0.
class Hyena : public SequenceMixer {
 public:
  Hyena(const HyenaOptions& options, const MixerSetup& setup);
  Tensor forward(const Tensor& x, const Context& context) override;
  std::unique_ptr<MixerState> start(int64_t batch, int64_t max_length) const override;
  Tensor prefill(const Tensor& x, MixerState& state) const override;

 private:
  /// The W rows of filter or skip o of (filters, ...), one per channel.
  Tensor pick(const Tensor& rows, int64_t o) const;
  /// (W), or nothing.
  Tensor skip_of(int64_t o) const;
  /// Convolves, or mixes the heads of what `convolve` gives, if they are to be mixed.
  Tensor convolve_and_mix(const GatedConvolution& convolve, int64_t o, const Tensor& v, const Tensor& gate,
                          const Tensor& gate_out) const;
  /// From the projections ((N + 1) W, B, L) to the input (W, B, L) of the last one.
  Tensor mix(const Tensor& projected, const GatedConvolution& convolve) const;

  HyenaOptions options_;
  MixerSetup setup_;
  int64_t width_;  // W
  bool one_pass_;  // nothing stands between the convolutions and their gates, as ops::hyena_conv wants it
  Linear &in_proj_, &out_proj_;
  ImplicitFilter* filter_;
  Parameter *short_weight_, *short_bias_, *skip_ = nullptr, *head_mixing_ = nullptr;
};

}  // namespace mara::nn
