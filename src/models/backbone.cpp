#include "models/backbone.h"

#include <algorithm>
#include <cmath>

#include "autograd/recompute.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/shape_ops.h"

namespace mara::models {
namespace {

/// The first of `layers` that is not below `blocks` or stands there twice.
std::optional<int64_t> misplaced(const std::vector<int64_t>& layers, int64_t blocks) {
  for (auto layer = layers.begin(); layer != layers.end(); ++layer) {
    if (*layer >= blocks || std::find(layers.begin(), layer, *layer) != layer) return *layer;
  }
  return std::nullopt;
}

}  // namespace

void BackboneConfig::fields(config::Fields& f, const ModelSetup& setup) {
  f.field("width", width, "width of the residual stream, D", config::between(1, 1 << 20));
  f.field("blocks", blocks, "number of residual blocks", config::between(1, 10000));
  f.field("norm", norm, "normalisation before each branch and the head", config::one_of({"layer", "rms"}));
  f.field("positions", positions, "position information added by the model",
          config::one_of({"none", "learned", "rotary"}));
  f.field("rotary_base", rotary_base, "wavelength base of rotary positions", config::above(1));
  f.field("causal", causal, "each position sees itself and earlier ones only");
  f.field("embedding_dropout", embedding_dropout, "on the embeddings", config::between(0, 0.99));
  f.field("residual_dropout", residual_dropout, "on what each branch adds to the stream", config::between(0, 0.99));
  f.field("init_std", init_std, "standard deviation of initial matrices and embeddings", config::between(1e-6, 100));
  f.field("init_rescale", init_rescale, "matrices that write to the stream start smaller by sqrt(2 blocks)");
  f.group(
      "mixer", [&] { mixer.fields(f, mixer_setup(setup)); }, "what mixes along the sequence");
  f.field("attention_layers", attention_layers, "numbers of the blocks, from 0, whose mixer is attention instead",
          config::at_least(0));
  f.optional_group("attention", attention, "the options of the attention in these blocks", mixer_setup(setup));
  f.group("mlp", mlp, "position-wise network");
  const std::optional<int64_t> wrong = misplaced(attention_layers, blocks);
  f.require(!wrong, "attention_layers",
            detail::join({"must be different numbers from 0 to blocks - 1 = ", blocks - 1, ", got ", wrong.value_or(0),
                          wrong < blocks ? " twice" : ""}));
  f.require(attention_layers.empty() == !attention, "attention",
            attention ? "is for the blocks in attention_layers, which names none; add it or leave attention out"
                      : "the blocks in attention_layers need it; write attention: {heads: 1}, or more heads");
  f.require(positions != "rotary" || attention || mixer.options->supports_rotary(), "positions",
            "rotary positions need a mixer with queries and keys, " + mixer.kind + " has none; choose none or learned");
}

double BackboneConfig::output_std() const {
  return init_rescale ? init_std / std::sqrt(2.0 * static_cast<double>(blocks)) : init_std;
}

nn::MixerSetup BackboneConfig::mixer_setup(const ModelSetup& setup) const {
  return {.width = width,
          .max_length = setup.length,
          .causal = causal,
          .init_std = init_std,
          .output_std = output_std(),
          .rotary_base = positions == "rotary" ? rotary_base : 0};
}

bool BackboneConfig::is_attention(int64_t block) const {
  return std::find(attention_layers.begin(), attention_layers.end(), block) != attention_layers.end();
}

Backbone::Backbone(const BackboneConfig& config, const ModelSetup& setup, int64_t vocabulary)
    : config_(config),
      longest_(config.positions == "learned" ? setup.length : nn::kUnlimited),
      features_(setup.features),
      compute_(setup.precision.compute_dtype()),
      residual_(setup.precision.residual_dtype()) {
  const nn::Init init = nn::Init::normal(config.init_std);
  if (features_ > 0) {
    input_ = &child("input", std::make_unique<nn::Linear>(features_, config.width, init));
  } else {
    embedding_ = &child("embedding", std::make_unique<nn::Embedding>(vocabulary, config.width, init, residual_));
  }
  if (config.positions == "learned") {
    positions_ = &param("positions", {setup.length, config.width}, init, nn::kVector);
  }
  const nn::MixerSetup mixer_setup = config.mixer_setup(setup);
  for (int64_t i = 0; i < config.blocks; ++i) {
    std::unique_ptr<nn::Mlp> mlp;
    if (config.mlp.kind != "none") {
      mlp = std::make_unique<nn::Mlp>(config.mlp, config.width, config.init_std, config.output_std());
    }
    auto mixer = config.is_attention(i) ? config.attention->make(mixer_setup) : config.mixer.options->make(mixer_setup);
    auto block = std::make_unique<nn::Block>(std::move(mixer), std::move(mlp), config.norm, config.width, compute_,
                                             config.residual_dropout);
    longest_ = std::min(longest_, block->longest(setup.length));
    blocks_.push_back(&child("blocks." + std::to_string(i), std::move(block)));
  }
  norm_ = &child("norm", nn::make_norm(config.norm, config.width, compute_));
}

Tensor Backbone::embed(const Batch& batch, int64_t position) const {
  const Tensor x = input_ != nullptr ? ops::cast(input_->forward(ops::cast(batch.inputs, compute_)), residual_)
                                     : embedding_->forward(batch.ids);
  return positions_ == nullptr ? x : ops::add(x, positions_->value().narrow(position, x.size(1)));
}

std::string Backbone::block_name(size_t i) const {
  const bool attention = config_.is_attention(static_cast<int64_t>(i));
  return "block " + std::to_string(i) + ": " + (attention ? "attention" : config_.mixer.kind);
}

Tensor Backbone::forward(const Batch& batch, const nn::Context& context) const {
  if (input_ != nullptr) {
    MARA_CHECK(batch.inputs.defined() && batch.inputs.rank() == 3 && batch.inputs.size(1) <= longest_ &&
                   batch.inputs.size(2) == features_,
               "model: inputs (B, L, ", features_, ") with L up to ", longest_, " are required, got ",
               batch.inputs.shape());
  } else {
    MARA_CHECK(batch.ids.defined() && batch.ids.rank() == 2 && batch.ids.size(1) <= longest_,
               "model: ids (B, L) with L up to ", longest_, " are required, got ", batch.ids.shape());
  }
  Tensor x = embed(batch, 0);
  if (context.training) x = ops::dropout(x, config_.embedding_dropout);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const ErrorContext frame(block_name(i));
    const nn::Block& block = *blocks_[i];
    if (context.recompute_blocks) {
      x = recompute([&block, context](const Inputs& inputs) { return block.forward(inputs[0], context); }, {x});
    } else {
      x = block.forward(x, context);
    }
  }
  return norm_->forward(x);
}

Generation Backbone::start(int64_t batch, int64_t max_length) const {
  MARA_CHECK(max_length <= longest_, "model: sequences of at most ", longest_, " tokens are required, got ",
             max_length);
  const NoGrad no_grad;
  Generation out{.batch = batch, .max_length = max_length};
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const ErrorContext frame(block_name(i));
    out.mixers.push_back(blocks_[i]->start(batch, max_length));
  }
  return out;
}

Tensor Backbone::prefill(const Tensor& ids, Generation& generation) const {
  MARA_CHECK(ids.rank() == 2 && ids.size(0) == generation.batch && ids.size(1) >= 1 &&
                 generation.length + ids.size(1) <= generation.max_length,
             "model: ids (", generation.batch, ", T) with T from 1 to ", generation.max_length - generation.length,
             " are required, got ", ids.shape());
  const NoGrad no_grad;
  Tensor x = embed({.ids = ids}, generation.length);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const ErrorContext frame(block_name(i));
    x = blocks_[i]->prefill(x, *generation.mixers[i]);
  }
  generation.length += ids.size(1);
  return norm_->forward(ops::contiguous(ops::slice(x, 1, ids.size(1) - 1, 1)));
}

}  // namespace mara::models
