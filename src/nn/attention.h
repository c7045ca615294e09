#pragma once

#include "nn/linear.h"
#include "nn/mixer.h"

namespace mara::nn {

struct AttentionOptions : MixerOptions {
  int64_t heads = 1;
  bool bias = true;
  int64_t rotary_dim = 0;

  void fields(config::Fields& f, const MixerSetup& setup) override;
  std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const override;
  bool supports_rotary() const override { return true; }
};

/// Multi-head softmax attention (Vaswani et al., 1706.03762): one projection to packed queries, keys and values,
/// optional rotary positions, tiled attention, output projection. Generating keeps keys and values: O(t) work for
/// position t, and 2 L D numbers per sequence.
class Attention : public SequenceMixer {
 public:
  Attention(const AttentionOptions& options, const MixerSetup& setup);
  Tensor forward(const Tensor& x, const Context& context) override;
  std::unique_ptr<MixerState> start(int64_t batch, int64_t max_length) const override;
  Tensor prefill(const Tensor& x, MixerState& state) const override;

 private:
  Tensor project(const Tensor& x, int64_t position) const;  // (B, T, D) -> (B, T, 3 D), turned

  AttentionOptions options_;
  MixerSetup setup_;
  Linear &in_proj_, &out_proj_;
};

}  // namespace mara::nn
