#include "models/language_model.h"

#include <cmath>

#include "autograd/recompute.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/shape_ops.h"

namespace mara::models {
namespace {

double output_std(const LanguageModelOptions& options) {
  if (!options.init_rescale) return options.init_std;
  return options.init_std / std::sqrt(2.0 * static_cast<double>(options.blocks));
}

nn::MixerSetup mixer_setup(const LanguageModelOptions& options, const ModelSetup& setup) {
  return {.width = options.width,
          .max_length = setup.length,
          .causal = options.causal,
          .init_std = options.init_std,
          .output_std = output_std(options),
          .rotary_base = options.positions == "rotary" ? options.rotary_base : 0};
}

}  // namespace

void LanguageModelOptions::fields(config::Fields& f, const ModelSetup& setup) {
  f.field("vocab", vocab, "number of token ids; 0: what the task or the data says", config::between(0, 1 << 24));
  f.field("vocab_multiple", vocab_multiple, "the vocabulary is padded to a multiple of this",
          config::between(1, 1 << 20));
  f.field("width", width, "width of the residual stream, D", config::between(1, 1 << 20));
  f.field("blocks", blocks, "number of residual blocks", config::between(1, 10000));
  f.field("norm", norm, "normalisation before each branch and the head", config::one_of({"layer", "rms"}));
  f.field("positions", positions, "position information added by the model",
          config::one_of({"none", "learned", "rotary"}));
  f.field("rotary_base", rotary_base, "wavelength base of rotary positions", config::above(1));
  f.field("causal", causal, "each position sees itself and earlier ones only");
  f.field("tie_head", tie_head, "the output layer is the embedding table");
  f.field("embedding_dropout", embedding_dropout, "on the embeddings", config::between(0, 0.99));
  f.field("residual_dropout", residual_dropout, "on what each branch adds to the stream", config::between(0, 0.99));
  f.field("init_std", init_std, "standard deviation of initial matrices and embeddings", config::between(1e-6, 100));
  f.field("init_rescale", init_rescale, "matrices that write to the stream start smaller by sqrt(2 blocks)");
  f.group(
      "mixer", [&] { mixer.fields(f, mixer_setup(*this, setup)); }, "what mixes along the sequence");
  f.group("mlp", mlp, "position-wise network");
  f.require(positions != "rotary" || mixer.options->supports_rotary(), "positions",
            "rotary positions need a mixer with queries and keys, " + mixer.kind + " has none; choose none or learned");
  f.require(
      vocab == 0 || vocab >= setup.vocabulary, "vocab",
      "must be at least the data's vocabulary " + std::to_string(setup.vocabulary) + ", got " + std::to_string(vocab));
}

std::unique_ptr<Model> LanguageModelOptions::make(const ModelSetup& setup) const {
  return std::make_unique<LanguageModel>(*this, setup);
}

LanguageModel::LanguageModel(const LanguageModelOptions& options, const ModelSetup& setup)
    : options_(options), length_(setup.length), vocabulary_(options.vocab > 0 ? options.vocab : setup.vocabulary) {
  const int64_t padded = (vocabulary_ + options.vocab_multiple - 1) / options.vocab_multiple * options.vocab_multiple;
  const Dtype compute = setup.precision.compute_dtype(), residual = setup.precision.residual_dtype();
  const nn::Init init = nn::Init::normal(options.init_std);
  embedding_ = &child("embedding", std::make_unique<nn::Embedding>(padded, options.width, init, residual));
  if (options.positions == "learned") {
    positions_ = &param("positions", {setup.length, options.width}, init,
                        {.weight_decay = false, .precision = nn::Precision::f32});
  }
  for (int64_t i = 0; i < options.blocks; ++i) {
    std::unique_ptr<nn::Mlp> mlp;
    if (options.mlp.kind != "none") {
      mlp = std::make_unique<nn::Mlp>(options.mlp, options.width, options.init_std, output_std(options));
    }
    auto block = std::make_unique<nn::Block>(options.mixer.options->make(mixer_setup(options, setup)), std::move(mlp),
                                             options.norm, options.width, compute, options.residual_dropout);
    blocks_.push_back(&child("blocks." + std::to_string(i), std::move(block)));
  }
  norm_ = &child("norm", nn::make_norm(options.norm, options.width, compute));
  if (!options.tie_head) head_ = &param("head", {padded, options.width}, init);
}

Tensor LanguageModel::embed(const Tensor& ids, int64_t position) const {
  const Tensor x = embedding_->forward(ids);
  return positions_ == nullptr ? x : ops::add(x, positions_->value().narrow(position, ids.size(1)));
}

std::string LanguageModel::block_name(size_t i) const {
  return "block " + std::to_string(i) + ": " + options_.mixer.kind;
}

Tensor LanguageModel::hidden(const Tensor& ids, const nn::Context& context) {
  MARA_CHECK(ids.rank() == 2 && ids.size(1) <= length_, "language_model: ids (B, L) with L up to ", length_,
             " are required, got ", ids.shape());
  Tensor x = embed(ids, 0);
  if (context.training) x = ops::dropout(x, options_.embedding_dropout);
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

ops::CrossEntropy LanguageModel::loss(const Batch& batch, const nn::Context& context, bool predictions) {
  const Tensor x = hidden(batch.ids, context);
  return ops::linear_cross_entropy(x.reshape({batch.ids.numel(), options_.width}), head(),
                                   batch.targets.reshape({batch.targets.numel()}), predictions);
}

Tensor LanguageModel::logits(const Tensor& ids, const nn::Context& context) {
  return ops::linear(hidden(ids, context), head());
}

Generation LanguageModel::start(int64_t batch, int64_t max_length) const {
  MARA_CHECK(max_length <= length_, "language_model: sequences of at most ", length_,
             " tokens, the length it was made for, are required, got ", max_length);
  const NoGrad no_grad;
  Generation out{.batch = batch, .max_length = max_length};
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const ErrorContext frame(block_name(i));
    out.mixers.push_back(blocks_[i]->start(batch, max_length));
  }
  return out;
}

Tensor LanguageModel::prefill(const Tensor& ids, Generation& generation) const {
  MARA_CHECK(ids.rank() == 2 && ids.size(0) == generation.batch && ids.size(1) >= 1 &&
                 generation.length + ids.size(1) <= generation.max_length,
             "language_model: ids (", generation.batch, ", T) with T from 1 to ",
             generation.max_length - generation.length, " are required, got ", ids.shape());
  const NoGrad no_grad;
  Tensor x = embed(ids, generation.length);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const ErrorContext frame(block_name(i));
    x = blocks_[i]->prefill(x, *generation.mixers[i]);
  }
  generation.length += ids.size(1);
  const Tensor last = ops::contiguous(ops::slice(x, 1, ids.size(1) - 1, 1));
  return ops::linear(norm_->forward(last), head()).reshape({ids.size(0), head().size(0)});
}

}  // namespace mara::models
