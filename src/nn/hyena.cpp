#include "nn/hyena.h"

#include <cmath>

#include "nn/channel_output.h"
#include "nn/streaming_conv.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/fft_conv.h"
#include "ops/hyena_conv.h"
#include "ops/matmul.h"
#include "ops/shape_ops.h"
#include "ops/short_conv.h"

namespace mara::nn {
namespace {

struct State final : MixerState {
  std::unique_ptr<MixerState> clone() const override { return std::make_unique<State>(*this); }

  explicit State(const StreamingShortConv& conv) : short_conv(conv) {}
  StreamingShortConv short_conv;          // ((N + 1) W, B, T)
  std::vector<HistoryConv> convolutions;  // (W, B, T)
};

}  // namespace

void HyenaOptions::fields(config::Fields& f, const MixerSetup& setup) {
  f.field("order", order, "gated products; order - 1 long convolutions per channel", config::between(2, 64));
  f.field("short_taps", short_taps, "taps of the short convolution after the projection", config::between(1, 64));
  f.field("inner_factor", inner_factor, "inner width, times the model's", config::between(1, 64));
  f.field("heads", heads, "groups of channels that share their filters; must divide the inner width",
          config::at_least(1));
  f.field("mix_heads", mix_heads, "learned combinations of the heads after each long convolution");
  f.field("blocks", blocks, "pieces of the sequence that are mixed on their own", config::at_least(1));
  f.field("dropout", dropout, "on the input of each long convolution", config::between(0, 0.99));
  f.field("activation", activation, "before the output projection", is_activation());
  f.field("skip", skip, "a learned multiple of the input added to each long convolution");
  f.group("filter", filter, "the network that makes the long filters");
  const int64_t inner = setup.width * inner_factor;
  f.require(inner % heads == 0, "heads",
            "must divide the inner width " + std::to_string(inner) + ", got " + std::to_string(heads));
  f.require(!mix_heads || heads > 1, "mix_heads", "needs more heads than one; give the number of `heads`");
  f.require(setup.max_length % blocks == 0, "blocks",
            "must divide the sequence length " + std::to_string(setup.max_length) + ", got " + std::to_string(blocks));
}

std::unique_ptr<SequenceMixer> HyenaOptions::make(const MixerSetup& setup) const {
  return std::make_unique<Hyena>(*this, setup);
}

Hyena::Hyena(const HyenaOptions& options, const MixerSetup& setup)
    : options_(options),
      setup_(setup),
      width_(setup.width * options.inner_factor),
      one_pass_(options.order == 2 && options.blocks == 1 && options.activation == "identity" && !options.mix_heads &&
                setup.causal),
      in_proj_(child("in_proj", std::make_unique<Linear>(setup.width, (options.order + 1) * width_,
                                                         Init::normal(setup.init_std)))),
      out_proj_(child("out_proj", std::make_unique<Linear>(width_, setup.width, Init::normal(setup.output_std)))) {
  const int64_t projected = (options.order + 1) * width_, filters = (options.order - 1) * width_ / options.heads;
  short_weight_ = &param("short_weight", {projected, options.short_taps}, Init::fan_in(options.short_taps), kVector);
  short_bias_ = &param("short_bias", {projected}, Init::fan_in(options.short_taps), kVector);
  if (options.skip) skip_ = &param("skip", {filters}, Init::normal(1), kVector);
  if (options.mix_heads) {
    const double std = 1 / std::sqrt(static_cast<double>(width_ / options.heads));
    head_mixing_ = &param("head_mixing", {options.order - 1, options.heads, options.heads}, Init::normal(std));
  }
  filter_ =
      &child("filter", std::make_unique<ImplicitFilter>(options.filter, filters, setup.max_length / options.blocks,
                                                        setup.init_std, !setup.causal));
}

Tensor Hyena::forward(const Tensor& x, const Context& context) {
  refuse_segments_and_mask("hyena", context);
  const int64_t batch = x.size(0), length = x.size(1), piece = length / options_.blocks;
  MARA_CHECK(length <= setup_.max_length && length % options_.blocks == 0, "hyena: a length of at most ",
             setup_.max_length, " in ", options_.blocks, " pieces is required, got ", length);
  const Tensor z = ops::linear_to_channels(x, in_proj_.weight());
  const Tensor filters = filter_->forward(piece);
  const bool drops = context.training && options_.dropout > 0;
  if (one_pass_ && !drops) {
    const ops::HyenaConvWeights weights{.short_weight = short_weight_->value(),
                                        .filter = pick(filters, 0),
                                        .short_bias = short_bias_->value(),
                                        .input_bias = in_proj_.bias(),
                                        .skip = skip_of(0)};
    if (ops::hyena_conv_pays(z, weights)) return out_proj_.forward_from_channels(ops::hyena_conv(z, weights));
  }
  const Tensor projected = ops::short_conv(z, short_weight_->value(), short_bias_->value(), in_proj_.bias());
  const Tensor reverse = setup_.causal ? Tensor() : ops::shifted_by_one(filter_->reverse(piece));
  const auto convolve = [&](int64_t o, const Tensor& v, const Tensor& gate, const Tensor& gate_out) {
    ops::FftConvOptions conv{.skip = skip_of(o), .gate_out = gate_out};
    if (reverse.defined()) conv.reverse = pick(reverse, o);
    Tensor u = v;
    if (drops) {
      u = ops::dropout(ops::mul(v, gate), options_.dropout);
    } else {
      conv.gate_in = gate;
    }
    return ops::fft_conv(u, pick(filters, o), conv);
  };
  const Tensor v = mix(projected.reshape({projected.size(0), batch * options_.blocks, piece}), convolve);
  return out_proj_.forward_from_channels(v.reshape({width_, batch, length}));
}

Tensor Hyena::mix(const Tensor& projected, const GatedConvolution& convolve) const {
  const int64_t order = options_.order;
  const auto branch = [&](int64_t i) { return projected.narrow(i * width_, width_); };  // x_i, and v as branch(order)
  const bool gated_output = options_.activation == "identity";
  Tensor v = branch(order);
  for (int64_t o = 0; o < order - 1; ++o) {
    const Tensor gate_out = o == order - 2 && gated_output ? branch(0) : Tensor();
    v = convolve_and_mix(convolve, o, v, branch(order - 1 - o), gate_out);
  }
  return gated_output ? v : activate(options_.activation, ops::mul(v, branch(0)));
}

Tensor Hyena::convolve_and_mix(const GatedConvolution& convolve, int64_t o, const Tensor& v, const Tensor& gate,
                               const Tensor& gate_out) const {
  if (head_mixing_ == nullptr) return convolve(o, v, gate, gate_out);
  const int64_t heads = options_.heads;
  const Tensor convolved = convolve(o, v, gate, {}).reshape({heads, v.numel() / heads});
  const Tensor mixing = head_mixing_->value().narrow(o, 1).reshape({heads, heads});
  const Tensor mixed = ops::matmul(mixing, convolved, {.a = true}).reshape(v.shape());
  return gate_out.defined() ? ops::mul(mixed, gate_out) : mixed;
}

// Row i (N - 1) + o belongs to channel i of every head.
Tensor Hyena::pick(const Tensor& rows, int64_t o) const {
  const int64_t count = options_.order - 1, heads = options_.heads, channels = width_ / heads;
  const int64_t taps = rows.numel() / rows.size(0);
  Tensor picked = rows;
  if (count > 1) picked = ops::contiguous(ops::slice(rows.reshape({channels, count, taps}), 1, o, 1));
  if (heads > 1) picked = ops::contiguous(ops::expand(picked.reshape({1, channels, taps}), 0, heads));
  return picked.reshape({width_, taps});
}

Tensor Hyena::skip_of(int64_t o) const {
  return skip_ != nullptr ? pick(skip_->value(), o).reshape({width_}) : Tensor();
}

std::unique_ptr<MixerState> Hyena::start(int64_t batch, int64_t max_length) const {
  require_causal("hyena", setup_);
  MARA_CHECK(options_.blocks == 1, "hyena: generating needs blocks: 1; with ", options_.blocks,
             " what a position sees depends on how long the sequence is going to be");
  MARA_CHECK(max_length <= setup_.max_length, "hyena: the filter has ", setup_.max_length, " taps, ", max_length,
             " positions are too many");
  const Tensor rows = filter_->forward(max_length);
  auto state =
      std::make_unique<State>(StreamingShortConv(short_weight_->value(), short_bias_->value(), in_proj_.bias(), batch));
  for (int64_t o = 0; o < options_.order - 1; ++o) {
    const Tensor skip = skip_ != nullptr ? pick(skip_->value(), o) : Tensor();
    state->convolutions.emplace_back(pick(rows, o), skip, batch);
  }
  return state;
}

Tensor Hyena::prefill(const Tensor& x, MixerState& mixer_state) const {
  State& state = dynamic_cast<State&>(mixer_state);
  const Tensor projected = state.short_conv.advance(ops::linear_to_channels(x, in_proj_.weight()));
  const auto convolve = [&](int64_t o, const Tensor& v, const Tensor& gate, const Tensor& gate_out) {
    return state.convolutions[static_cast<size_t>(o)].advance(v, gate, gate_out);
  };
  return out_proj_.forward_from_channels(mix(projected, convolve));
}

}  // namespace mara::nn
