#pragma once

#include "nn/channel_output.h"
#include "nn/dplr_ssm.h"
#include "nn/mixer.h"
#include "nn/state_space.h"

namespace mara::nn {

struct S4dOptions : MixerOptions {
  DiagonalSsmOptions ssm;
  ChannelOutputOptions output;

  void fields(config::Fields& f, const MixerSetup& setup) override;
  std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const override;
};

struct S4Options : MixerOptions {
  DplrSsmOptions ssm;
  ChannelOutputOptions output;

  void fields(config::Fields& f, const MixerSetup& setup) override;
  std::unique_ptr<SequenceMixer> make(const MixerSetup& setup) const override;
};

/// S4D (Gu et al., 2206.11893) and S4 (2111.00396): a state-space system per channel, no gates:
///   y[d] = conv(x[d], k[d]) + skip[d] x[d],  ChannelOutput(y),  skip drawn from N(0, 1)
/// Models that are not causal have a second filter of the same systems for later positions (lag -(j+1) has tap j).
/// Generating keeps a state of N numbers per channel, in f32 whatever the model computes in: constant memory, O(N D)
/// work per position, a prompt in one pass. S4D goes on and evaluates beyond the length it was trained for, S4
/// up to its period.
class StateSpaceMixer : public SequenceMixer {
 public:
  StateSpaceMixer(const char* kind, std::unique_ptr<StateSpace> system, const ChannelOutputOptions& output,
                  const MixerSetup& setup);
  Tensor forward(const Tensor& x, const Context& context) override;
  int64_t longest(int64_t) const override { return ssm_.longest(); }
  std::unique_ptr<MixerState> start(int64_t batch, int64_t max_length) const override;
  Tensor prefill(const Tensor& x, MixerState& state) const override;

 private:
  const char* kind_;
  MixerSetup setup_;
  StateSpace& ssm_;
  Parameter& skip_;
  ChannelOutput& output_;
};

}  // namespace mara::nn
