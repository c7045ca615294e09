#include "nn/long_conv.h"

#include "nn/streaming_conv.h"
#include "ops/fft_conv.h"
#include "ops/shape_ops.h"

namespace mara::nn {
namespace {

struct State final : MixerState {
  std::unique_ptr<MixerState> clone() const override { return std::make_unique<State>(*this); }

  std::vector<HistoryConv> convolutions;  // by filter
};

}  // namespace

void LongConvOptions::fields(config::Fields& f, const MixerSetup&) {
  f.field("filters", filters, "long convolutions per channel", config::between(1, 64));
  f.group("filter", filter, "the long filters");
  output.fields(f);
  f.require(filters == 1 || output.output != "none", "output",
            "`none` needs one filter per channel, got " + std::to_string(filters));
}

std::unique_ptr<SequenceMixer> LongConvOptions::make(const MixerSetup& setup) const {
  return std::make_unique<LongConv>(*this, setup);
}

LongConv::LongConv(const LongConvOptions& options, const MixerSetup& setup)
    : options_(options),
      setup_(setup),
      filter_(child("filter", std::make_unique<FreeFilter>(options.filter, setup.width,
                                                           options.filters * setup.directions(), setup.max_length))),
      skip_(param("skip", {options.filters * setup.width}, Init::normal(1), kVector)),
      output_(child("output", std::make_unique<ChannelOutput>(options.output, options.filters * setup.width,
                                                              setup.width, setup.output_std))) {}

Tensor LongConv::forward(const Tensor& x, const Context& context) {
  refuse_segments_and_mask("long_conv", context);
  const int64_t width = setup_.width, rows = options_.filters * width;
  const Tensor u = to_channels(x), taps = filter_.taps(x.size(1), context.training);
  const Tensor reverse = setup_.causal ? Tensor() : ops::shifted_by_one(taps.narrow(rows, rows));
  std::vector<Tensor> parts;
  for (int64_t c = 0; c < rows; c += width) {
    ops::FftConvOptions conv{.skip = skip_.value().narrow(c, width)};
    if (reverse.defined()) conv.reverse = reverse.narrow(c, width);
    parts.push_back(ops::fft_conv(u, taps.narrow(c, width), conv));
  }
  return output_.forward(ops::concat(parts, 0), context.training);
}

std::unique_ptr<MixerState> LongConv::start(int64_t batch, int64_t max_length) const {
  require_causal("long_conv", setup_);
  auto state = std::make_unique<State>();
  const Tensor taps = filter_.taps(max_length, false);
  for (int64_t c = 0; c < options_.filters; ++c) {
    const auto rows = [&](const Tensor& t) { return t.narrow(c * setup_.width, setup_.width); };
    state->convolutions.emplace_back(rows(taps), rows(skip_.value()), batch);
  }
  return state;
}

Tensor LongConv::prefill(const Tensor& x, MixerState& mixer_state) const {
  State& state = dynamic_cast<State&>(mixer_state);
  const Tensor u = to_channels(x);
  std::vector<Tensor> parts;
  for (HistoryConv& convolution : state.convolutions) parts.push_back(convolution.advance(u));
  return output_.forward(ops::concat(parts, 0), false);
}

}  // namespace mara::nn
