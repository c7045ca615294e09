#pragma once

#include "nn/channel_output.h"
#include "nn/free_filter.h"
#include "nn/mixer.h"

namespace mara::nn {

struct LongConvOptions : MixerOptions {
  int64_t filters = 1;
  FreeFilterOptions filter;
  ChannelOutputOptions output;

  void fields(config::Fields& f, const MixerSetup& setup) override;
  std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const override;
};

/// Long convolutions whose taps are parameters (LongConv, Fu et al., 2302.06646), C = `filters` per channel and
/// nothing that depends on the input but the output map:
///   y[c D + d] = conv(x[d], k[c D + d]) + skip[c D + d] x[d];   ChannelOutput(y)
/// Models that are not causal add as many filters for later positions (lag -(j+1) has tap j). The published recipes for
/// images and long sequences take two filters per channel, taps dropped with 0.2, and a learning rate of their own.
/// Generating keeps the inputs: O(C t D) work for position t, and C L D numbers per sequence.
class LongConv : public SequenceMixer {
 public:
  LongConv(const LongConvOptions& options, const MixerSetup& setup);
  Tensor forward(const Tensor& x, const Context& context) override;
  std::unique_ptr<MixerState> start(int64_t batch, int64_t max_length) const override;
  Tensor prefill(const Tensor& x, MixerState& state) const override;

 private:
  LongConvOptions options_;
  MixerSetup setup_;
  FreeFilter& filter_;
  Parameter& skip_;
  ChannelOutput& output_;
};

}  // namespace mara::nn
