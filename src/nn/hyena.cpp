#include "nn/hyena.h"

#include "kernels/kernels.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/fft_conv.h"
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
  const Tensor projected =
      ops::short_conv(in_proj_.forward_to_channels(x), short_weight_->value(), short_bias_->value());
  const auto branch = [&](int64_t i) {  // x_i, and v as branch(order)
    return projected.narrow(i * width_, width_).reshape({width_, batch * options_.blocks, piece});
  };
  const Tensor filters = filter_->forward(piece);
  const Tensor reverse = setup_.causal ? Tensor() : shifted_by_one(filter_->reverse(piece));
  const bool gated_output = options_.activation == "identity";

  Tensor v = branch(order);
  for (int64_t o = 0; o < order - 1; ++o) {
    ops::FftConvOptions conv;
    const auto pick = [&](const Tensor& rows) { return every(rows, o, order - 1); };
    if (skip_ != nullptr) conv.skip = pick(skip_->value()).reshape({width_});
    if (reverse.defined()) conv.reverse = pick(reverse).reshape({width_, piece});
    const Tensor gate = branch(order - 1 - o);
    if (context.training && options_.dropout > 0) {
      v = ops::dropout(ops::mul(v, gate), options_.dropout);
    } else {
      conv.gate_in = gate;
    }
    if (o == order - 2 && gated_output) conv.gate_out = branch(0);
    v = ops::fft_conv(v, pick(filters).reshape({width_, piece}), conv);
  }
  if (!gated_output) v = activate(options_.activation, ops::mul(v, branch(0)));
  return out_proj_.forward_from_channels(v.reshape({width_, batch, length}));
}

}  // namespace mara::nn
