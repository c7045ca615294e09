#include "nn/multi_hyena.h"

#include "nn/outer_product.h"
#include "nn/streaming_conv.h"
#include "ops/fft_conv.h"
#include "ops/matmul.h"
#include "ops/short_conv.h"

namespace mara::nn {
namespace {

struct State final : MixerState {
  explicit State(const StreamingShortConv& conv) : short_conv(conv) {}
  std::unique_ptr<MixerState> clone() const override { return std::make_unique<State>(*this); }

  StreamingShortConv short_conv;          // (3 D, B, T)
  std::vector<HistoryConv> convolutions;  // of entry i of every head's k: (heads, d B, T)
};

Tensor mix(const Tensor& qkv, int64_t heads, const GatedConvolution& convolve) {
  const int64_t width = qkv.size(0) / 3;
  const auto part = [&](int64_t i) { return qkv.narrow(i * width, width); };
  return outer_product_heads(part(0), part(1), part(2), heads, convolve);
}

}  // namespace

void MultiHyenaOptions::fields(config::Fields& f, const MixerSetup& setup) {
  f.field("heads", heads, "number of heads, and of filters; must divide the model's width", config::at_least(1));
  f.field("short_taps", short_taps, "taps of the short convolution after the projection", config::between(1, 64));
  f.field("skip", skip, "a learned multiple of the input added to each long convolution");
  f.group("filter", filter, "the network that makes the long filters");
  f.require(setup.width % heads == 0, "heads",
            "must divide the model's width " + std::to_string(setup.width) + ", got " + std::to_string(heads));
}

std::unique_ptr<SequenceMixer> MultiHyenaOptions::make(const MixerSetup& setup) const {
  return std::make_unique<MultiHyena>(*this, setup);
}

MultiHyena::MultiHyena(const MultiHyenaOptions& options, const MixerSetup& setup)
    : options_(options),
      setup_(setup),
      in_proj_(child("in_proj", std::make_unique<Linear>(setup.width, 3 * setup.width, Init::normal(setup.init_std)))),
      out_proj_(child("out_proj", std::make_unique<Linear>(setup.width, setup.width, Init::normal(setup.output_std)))),
      filter_(child("head_filter", std::make_unique<ImplicitFilter>(options.filter, options.heads, setup.max_length,
                                                                    setup.init_std, !setup.causal))) {
  const Init short_init = Init::fan_in(options.short_taps);
  short_weight_ = &param("short_weight", {3 * setup.width, options.short_taps}, short_init, kVector);
  short_bias_ = &param("short_bias", {3 * setup.width}, short_init, kVector);
  if (options.skip) skip_ = &param("skip", {options.heads}, Init::normal(1), kVector);
}

Tensor MultiHyena::forward(const Tensor& x, const Context& context) {
  refuse_segments_and_mask("multi_hyena", context);
  const int64_t length = x.size(1);
  MARA_CHECK(length <= setup_.max_length, "multi_hyena: a length of at most ", setup_.max_length, " is required, got ",
             length);
  const Tensor qkv = ops::short_conv(ops::linear_to_channels(x, in_proj_.weight()), short_weight_->value(),
                                     short_bias_->value(), in_proj_.bias());
  const Tensor taps = filter_.forward(length);
  const Tensor reverse = setup_.causal ? Tensor() : ops::shifted_by_one(filter_.reverse(length));
  const auto convolve = [&](int64_t, const Tensor& u, const Tensor& gate_in, const Tensor& gate_out) {
    return ops::fft_conv(u, taps, {.reverse = reverse, .skip = skip(), .gate_in = gate_in, .gate_out = gate_out});
  };
  return out_proj_.forward_from_channels(mix(qkv, options_.heads, convolve));
}

std::unique_ptr<MixerState> MultiHyena::start(int64_t batch, int64_t max_length) const {
  require_causal("multi_hyena", setup_);
  MARA_CHECK(max_length <= setup_.max_length, "multi_hyena: the filter has ", setup_.max_length, " taps, ", max_length,
             " positions are too many");
  const int64_t size = setup_.width / options_.heads;
  auto state =
      std::make_unique<State>(StreamingShortConv(short_weight_->value(), short_bias_->value(), in_proj_.bias(), batch));
  const HistoryConv empty(filter_.forward(max_length), skip(), size * batch);
  state->convolutions = std::vector<HistoryConv>(static_cast<size_t>(size), empty);
  return state;
}

Tensor MultiHyena::prefill(const Tensor& x, MixerState& mixer_state) const {
  State& state = dynamic_cast<State&>(mixer_state);
  const Tensor qkv = state.short_conv.advance(ops::linear_to_channels(x, in_proj_.weight()));
  const auto convolve = [&](int64_t i, const Tensor& u, const Tensor& gate_in, const Tensor& gate_out) {
    return state.convolutions[static_cast<size_t>(i)].advance(u, gate_in, gate_out);
  };
  return out_proj_.forward_from_channels(mix(qkv, options_.heads, convolve));
}

}  // namespace mara::nn
