#pragma once

#include "nn/implicit_filter.h"
#include "nn/mixer.h"

namespace mara::nn {

struct MultiHyenaOptions : MixerOptions {
  int64_t heads = 8;
  int64_t short_taps = 3;
  bool skip = true;
  ImplicitFilterOptions filter;

  void fields(config::Fields& f, const MixerSetup& setup) override;
  std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const override;
};

/// Hyena with the head structure of H3 (Massaroli et al., 2310.18780): the projection to 3 D channels is followed by a
/// causal depthwise convolution and split into q, k, v; then y = W_out outer_product_heads(q, k, v) with one implicit
/// filter and one skip per head. Of the d = D / heads entries of a head, every product with every other is convolved: d
/// convolutions per channel, where Hyena has one, and `heads` filters, where Hyena has D. Models that are not causal
/// add a second filter for later positions (lag -(j+1) has tap j); the short convolution stays causal. Generating keeps
/// the products: O(d t D) work for position t, and d L D numbers per sequence.
class MultiHyena : public SequenceMixer {
 public:
  MultiHyena(const MultiHyenaOptions& options, const MixerSetup& setup);
  Tensor forward(const Tensor& x, const Context& context) override;
  std::unique_ptr<MixerState> start(int64_t batch, int64_t max_length) const override;
  Tensor prefill(const Tensor& x, MixerState& state) const override;

 private:
  Tensor skip() const { return skip_ != nullptr ? skip_->value() : Tensor(); }

  MultiHyenaOptions options_;
  MixerSetup setup_;
  Linear &in_proj_, &out_proj_;
  ImplicitFilter& filter_;
  Parameter *short_weight_, *short_bias_, *skip_ = nullptr;
};

}  // namespace mara::nn
