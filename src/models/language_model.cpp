#include "models/language_model.h"

#include "ops/matmul.h"

namespace mara::models {

void LanguageModelOptions::fields(config::Fields& f, const ModelSetup& setup) {
  f.field("vocab", vocab, "number of token ids; 0: what the task or the data says", config::between(0, 1 << 24));
  f.field("vocab_multiple", vocab_multiple, "the vocabulary is padded to a multiple of this",
          config::between(1, 1 << 20));
  f.field("tie_head", tie_head, "the output layer is the embedding table");
  f.require(
      vocab == 0 || vocab >= setup.vocabulary, "vocab",
      "must be at least the data's vocabulary " + std::to_string(setup.vocabulary) + ", got " + std::to_string(vocab));
  backbone.fields(f, setup);
  f.require(setup.features == 0 && setup.targets == setup.length && !setup.values, "kind",
            "a language_model needs tokens and a target at each of them, this task has others; use " +
                std::string(setup.values ? "regressor" : "classifier"));
}

std::unique_ptr<Model> LanguageModelOptions::make(const ModelSetup& setup) const {
  return std::make_unique<LanguageModel>(*this, setup);
}

LanguageModel::LanguageModel(const LanguageModelOptions& options, const ModelSetup& setup)
    : options_(options), vocabulary_(options.vocab > 0 ? options.vocab : setup.vocabulary) {
  const int64_t padded = (vocabulary_ + options.vocab_multiple - 1) / options.vocab_multiple * options.vocab_multiple;
  backbone_ = &child("", std::make_unique<Backbone>(options.backbone, setup, padded));
  if (!options.tie_head) {
    head_ = &param("head", {padded, options.backbone.width}, nn::Init::normal(options.backbone.init_std));
  }
}

ops::Loss LanguageModel::loss(const Batch& batch, const nn::Context& context, bool predictions) {
  const Tensor x = backbone_->forward(batch, context);
  return ops::linear_cross_entropy(x.reshape({batch.ids.numel(), options_.backbone.width}), head(),
                                   batch.targets.reshape({batch.targets.numel()}), predictions);
}

Tensor LanguageModel::logits(const Tensor& ids, const nn::Context& context) {
  return ops::linear(backbone_->forward({.ids = ids}, context), head());
}

Tensor LanguageModel::prefill(const Tensor& ids, Generation& generation) const {
  const NoGrad no_grad;
  const Tensor last = backbone_->prefill(ids, generation);
  return ops::linear(last, head()).reshape({ids.size(0), head().size(0)});
}

}  // namespace mara::models
