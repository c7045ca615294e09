#pragma once

#include "models/backbone.h"
#include "models/model.h"

namespace mara::models {

struct LanguageModelOptions : ModelOptions {
  int64_t vocab = 0;
  int64_t vocab_multiple = 1;
  bool tie_head = true;
  BackboneConfig backbone;

  void fields(config::Fields& f, const ModelSetup& setup) override;
  std::unique_ptr<Model> make(const ModelSetup& setup) const override;
};

/// tokens -> backbone -> head, which is the embedding table itself if tied. The vocabulary is padded to a multiple;
/// padded rows are ordinary classes that no target names.
class LanguageModel : public Model {
 public:
  LanguageModel(const LanguageModelOptions& options, const ModelSetup& setup);

  ops::Loss loss(const Batch& batch, const nn::Context& context, bool predictions) override;
  Tensor logits(const Tensor& ids, const nn::Context& context) override;
  int64_t longest() const override { return backbone_->longest(); }
  Generation start(int64_t batch, int64_t max_length) const override { return backbone_->start(batch, max_length); }
  Tensor prefill(const Tensor& ids, Generation& generation) const override;
  int64_t vocabulary() const override { return vocabulary_; }
  bool turns_positions() const override { return options_.backbone.positions == "rotary"; }
  std::string tied() const override { return head_ == nullptr ? "head=embedding.table" : ""; }

 private:
  const Tensor& head() const { return head_ != nullptr ? head_->value() : backbone_->table(); }

  LanguageModelOptions options_;
  int64_t vocabulary_;
  Backbone* backbone_;
  nn::Parameter* head_ = nullptr;
};

}  // namespace mara::models
