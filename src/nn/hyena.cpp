#include "nn/hyena.h"

#include <numeric>

#include "kernels/kernels.h"
#include "nn/sequence_cache.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/fft_conv.h"
#include "ops/gather.h"
#include "ops/matmul.h"
#include "ops/shape_ops.h"
#include "ops/short_conv.h"

namespace mara::nn {
namespace {

// Rows d * count + o of `rows` for one o and all d.
Tensor every(const Tensor& rows, int64_t o, int64_t count) {
  if (count == 1) return rows;
  const int64_t channels = rows.size(0) / count;
  return ops::contiguous(ops::slice(rows.reshape({channels, count, rows.numel() / rows.size(0)}), 1, o, 1));
}

// Taps for lags -1, -2, ... as the convolution wants them: its reverse filter starts at lag 0.
Tensor shifted_by_one(const Tensor& taps) {
  Tensor zero = Tensor::empty({taps.size(0), 1}, taps.dtype(), taps.device());
  auto [k, stream] = kernels::on(taps.device());
  k.fill(stream, {.y = zero.view(), .value = 0});
  return ops::contiguous(ops::slice(ops::concat({zero, taps}, 1), 1, 0, taps.size(1)));
}

struct Taps {
  Tensor forward, reversed;  // (W, K), the skip added to tap 0
};

struct State final : MixerState {
  std::unique_ptr<MixerState> clone() const override { return std::make_unique<State>(*this); }

  Tensor short_inputs;                // ((N + 1) W, B, short taps - 1), zeros before the sequence
  std::vector<SequenceCache> inputs;  // of each long convolution: (W, B, L), gated, f32 | f64
  std::vector<Taps> taps;             // of each long convolution
};

Tensor reversed(const Tensor& taps) {
  std::vector<int32_t> order(static_cast<size_t>(taps.size(1)));
  std::iota(order.rbegin(), order.rend(), 0);
  return ops::gather(taps, 1, Tensor::from(order, {taps.size(1)}, taps.device()));
}

// The last output of a convolution, (W, B, 1): a product per channel of its t inputs so far and t reversed taps.
Tensor last_output(const Tensor& inputs, const Tensor& reversed_taps) {
  const int64_t channels = inputs.size(0), t = inputs.size(2), taps = reversed_taps.size(1);
  const Tensor column = reversed_taps.strided({channels, t, 1}, {taps, 1, 1}, taps - t);
  Tensor c = Tensor::empty({channels, inputs.size(1), 1}, inputs.dtype(), inputs.device());
  auto [k, stream] = kernels::on(inputs.device());
  k.matmul(stream, {.a = inputs.view(), .b = column.view(), .c = c.view()});
  return c;
}

// The last `count` outputs.
Tensor last_outputs(const Tensor& inputs, const Taps& taps, int64_t count) {
  if (count == 1) return last_output(inputs, taps.reversed);
  const Tensor all = ops::fft_conv(ops::contiguous(inputs), taps.forward);
  return ops::contiguous(ops::slice(all, 2, all.size(2) - count, count));
}

Tensor activate(const std::string& activation, const Tensor& x) {
  if (activation == "gelu") return ops::gelu(x);
  if (activation == "silu") return ops::silu(x);
  return ops::relu(x);
}

}  // namespace

void HyenaOptions::fields(config::Fields& f, const MixerSetup& setup) {
  f.field("order", order, "gated products; order - 1 long convolutions per channel", config::between(2, 64));
  f.field("short_taps", short_taps, "taps of the short convolution after the projection", config::between(1, 64));
  f.field("inner_factor", inner_factor, "inner width, times the model's", config::between(1, 64));
  f.field("blocks", blocks, "pieces of the sequence that are mixed on their own", config::at_least(1));
  f.field("dropout", dropout, "on the input of each long convolution", config::between(0, 0.99));
  f.field("activation", activation, "before the output projection",
          config::one_of({"identity", "gelu", "silu", "relu"}));
  f.field("skip", skip, "a learned multiple of the input added to each long convolution");
  f.group("filter", filter, "the network that makes the long filters");
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
      in_proj_(child("in_proj", std::make_unique<Linear>(setup.width, (options.order + 1) * width_,
                                                         Init::normal(setup.init_std)))),
      out_proj_(child("out_proj", std::make_unique<Linear>(width_, setup.width, Init::normal(setup.output_std)))) {
  const int64_t projected = (options.order + 1) * width_, filters = (options.order - 1) * width_;
  short_weight_ = &param("short_weight", {projected, options.short_taps}, Init::fan_in(options.short_taps), kVector);
  short_bias_ = &param("short_bias", {projected}, Init::fan_in(options.short_taps), kVector);
  if (options.skip) skip_ = &param("skip", {filters}, Init::normal(1), kVector);
  filter_ =
      &child("filter", std::make_unique<ImplicitFilter>(options.filter, filters, setup.max_length / options.blocks,
                                                        setup.init_std, !setup.causal));
}

Tensor Hyena::forward(const Tensor& x, const Context& context) {
  refuse_segments_and_mask("hyena", context);
  const int64_t batch = x.size(0), length = x.size(1), order = options_.order, piece = length / options_.blocks;
  MARA_CHECK(length <= setup_.max_length && length % options_.blocks == 0, "hyena: a length of at most ",
             setup_.max_length, " in ", options_.blocks, " pieces is required, got ", length);
  const Tensor projected = ops::short_conv(ops::linear_to_channels(x, in_proj_.weight()), short_weight_->value(),
                                           short_bias_->value(), in_proj_.bias());
  const Tensor filters = filter_->forward(piece);
  const Tensor reverse = setup_.causal ? Tensor() : shifted_by_one(filter_->reverse(piece));
  const auto convolve = [&](int64_t o, const Tensor& v, const Tensor& gate, const Tensor& gate_out) {
    ops::FftConvOptions conv{.gate_out = gate_out};
    const auto pick = [&](const Tensor& rows) { return every(rows, o, order - 1); };
    if (skip_ != nullptr) conv.skip = pick(skip_->value()).reshape({width_});
    if (reverse.defined()) conv.reverse = pick(reverse).reshape({width_, piece});
    Tensor u = v;
    if (context.training && options_.dropout > 0) {
      u = ops::dropout(ops::mul(v, gate), options_.dropout);
    } else {
      conv.gate_in = gate;
    }
    return ops::fft_conv(u, pick(filters).reshape({width_, piece}), conv);
  };
  const Tensor v = mix(projected.reshape({projected.size(0), batch * options_.blocks, piece}), convolve);
  return out_proj_.forward_from_channels(v.reshape({width_, batch, length}));
}

Tensor Hyena::mix(const Tensor& projected, const Convolution& convolve) const {
  const int64_t order = options_.order;
  const auto branch = [&](int64_t i) { return projected.narrow(i * width_, width_); };  // x_i, and v as branch(order)
  const bool gated_output = options_.activation == "identity";
  Tensor v = branch(order);
  for (int64_t o = 0; o < order - 1; ++o) {
    v = convolve(o, v, branch(order - 1 - o), o == order - 2 && gated_output ? branch(0) : Tensor());
  }
  return gated_output ? v : activate(options_.activation, ops::mul(v, branch(0)));
}

std::unique_ptr<MixerState> Hyena::start(int64_t batch, int64_t max_length) const {
  MARA_CHECK(setup_.causal, "hyena: generating needs a causal model, this one looks at later positions too");
  MARA_CHECK(options_.blocks == 1, "hyena: generating needs blocks: 1; with ", options_.blocks,
             " what a position sees depends on how long the sequence is going to be");
  MARA_CHECK(max_length <= setup_.max_length, "hyena: the filter has ", setup_.max_length, " taps, ", max_length,
             " positions are too many");
  const int64_t filters = options_.order - 1;
  auto state = std::make_unique<State>();
  const Tensor rows = filter_->forward(max_length);
  auto [k, stream] = kernels::on(rows.device());
  for (int64_t o = 0; o < filters; ++o) {
    const Tensor taps = every(rows, o, filters).reshape({width_, max_length});
    if (skip_ != nullptr) {
      const Tensor skip = every(skip_->value(), o, filters).reshape({width_, 1});
      k.copy(stream, {.x = skip.view(), .y = ops::slice(taps, 1, 0, 1).view(), .accumulate = true});
    }
    state->taps.push_back({taps, reversed(taps)});
    state->inputs.emplace_back(Shape{width_, batch, max_length}, taps.dtype(), taps.device());
  }
  state->short_inputs =
      Tensor::empty({(options_.order + 1) * width_, batch, options_.short_taps - 1}, in_proj_.dtype(), rows.device());
  k.fill(stream, {.y = state->short_inputs.view(), .value = 0});
  return state;
}

Tensor Hyena::prefill(const Tensor& x, MixerState& mixer_state) const {
  State& state = dynamic_cast<State&>(mixer_state);
  const int64_t length = x.size(1), history = options_.short_taps - 1;
  const Tensor inputs = ops::concat({state.short_inputs, in_proj_.forward_to_channels(x)}, 2);
  state.short_inputs = ops::contiguous(ops::slice(inputs, 2, length, history));
  const Tensor projected = ops::short_conv(inputs, short_weight_->value(), short_bias_->value());
  const auto convolve = [&](int64_t o, const Tensor& v, const Tensor& gate, const Tensor& gate_out) {
    const auto at = static_cast<size_t>(o);
    state.inputs[at].append(ops::mul(ops::cast(v, short_bias_->value().dtype()), gate));
    Tensor c = last_outputs(state.inputs[at].seen(), state.taps[at], length);
    if (gate_out.defined()) c = ops::mul(c, gate_out);
    return ops::cast(c, x.dtype());
  };
  return out_proj_.forward_from_channels(mix(ops::contiguous(ops::slice(projected, 2, history, length)), convolve));
}

}  // namespace mara::nn
