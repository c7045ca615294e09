#include "nn/s4.h"

#include "ops/fft_conv.h"

namespace mara::nn {
namespace {

struct State final : MixerState {
  explicit State(SystemConv convolution) : convolution(std::move(convolution)) {}
  std::unique_ptr<MixerState> clone() const override { return std::make_unique<State>(*this); }

  SystemConv convolution;  // (D, B, T)
};

}  // namespace

void S4dOptions::fields(config::Fields& f, const MixerSetup& setup) {
  f.group(
      "ssm", [&] { ssm.fields(f, setup.width); }, "the diagonal systems, one per channel");
  output.fields(f);
}

std::unique_ptr<SequenceMixer> S4dOptions::make(const MixerSetup& setup) const {
  return std::make_unique<StateSpaceMixer>("s4d", std::make_unique<DiagonalSsm>(ssm, setup.width, setup.directions()),
                                           output, setup);
}

void S4Options::fields(config::Fields& f, const MixerSetup& setup) {
  f.group(
      "ssm", [&] { ssm.fields(f, setup.width, setup.max_length); }, "the systems, diagonal plus low rank");
  output.fields(f);
}

std::unique_ptr<SequenceMixer> S4Options::make(const MixerSetup& setup) const {
  return std::make_unique<StateSpaceMixer>(
      "s4", std::make_unique<DplrSsm>(ssm, setup.width, setup.max_length, setup.directions()), output, setup);
}

StateSpaceMixer::StateSpaceMixer(const char* kind, std::unique_ptr<StateSpace> system,
                                 const ChannelOutputOptions& output, const MixerSetup& setup)
    : kind_(kind),
      setup_(setup),
      ssm_(child("ssm", std::move(system))),
      skip_(param("skip", {setup.width}, Init::normal(1), kVector)),
      output_(child("output", std::make_unique<ChannelOutput>(output, setup.width, setup.width, setup.output_std))) {}

Tensor StateSpaceMixer::forward(const Tensor& x, const Context& context) {
  refuse_segments_and_mask(kind_, context);
  const Tensor filter = ssm_.filter(x.size(1));
  ops::FftConvOptions conv{.skip = skip_.value()};
  if (!setup_.causal) conv.reverse = ops::shifted_by_one(filter.narrow(setup_.width, setup_.width));
  const Tensor y = ops::fft_conv(to_channels(x), filter.narrow(0, setup_.width), conv);
  return output_.forward(y, context.training);
}

std::unique_ptr<MixerState> StateSpaceMixer::start(int64_t batch, int64_t) const {
  require_causal(kind_, setup_);
  return std::make_unique<State>(SystemConv(ssm_.discrete(), skip_.value(), batch));
}

Tensor StateSpaceMixer::prefill(const Tensor& x, MixerState& state) const {
  return output_.forward(dynamic_cast<State&>(state).convolution.advance(to_channels(x)), false);
}

}  // namespace mara::nn
