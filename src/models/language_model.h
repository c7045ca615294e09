#pragma once

#include <vector>

#include "models/model.h"
#include "nn/block.h"
#include "nn/embedding.h"

namespace mara::models {

struct LanguageModelOptions : ModelOptions {
  int64_t vocab = 0;
  int64_t vocab_multiple = 1;
  int64_t width = 64;
  int64_t blocks = 2;
  nn::MixerConfig mixer;
  nn::MlpConfig mlp;
  std::string norm = "layer";
  std::string positions = "none";
  double rotary_base = 10000;
  bool causal = true;
  bool tie_head = true;
  double embedding_dropout = 0;
  double residual_dropout = 0;
  double init_std = 0.02;
  bool init_rescale = true;

  void fields(config::Fields& f, const ModelSetup& setup) override;
  std::unique_ptr<Model> make(const ModelSetup& setup) const override;
};

/// tokens -> embedding (+ learned positions) -> dropout -> pre-norm blocks -> norm -> head, which is the embedding
/// table itself if tied. The vocabulary is padded to a multiple; padded rows are ordinary classes that no target
/// names. Matrices start from N(0, std^2), those that write to the residual stream from std / sqrt(2 blocks)
/// (Radford et al., 2019); biases from 0, gains from 1.
class LanguageModel : public Model {
 public:
  LanguageModel(const LanguageModelOptions& options, const ModelSetup& setup);

  ops::CrossEntropy loss(const Batch& batch, const nn::Context& context, bool predictions) override;
  Tensor logits(const Tensor& ids, const nn::Context& context) override;
  Generation start(int64_t batch, int64_t max_length) const override;
  Tensor prefill(const Tensor& ids, Generation& generation) const override;
  int64_t vocabulary() const override { return vocabulary_; }
  bool turns_positions() const override { return options_.positions == "rotary"; }
  std::string tied() const override { return head_ == nullptr ? "head=embedding.table" : ""; }

 private:
  Tensor embed(const Tensor& ids, int64_t position) const;       // (B, L), the first at `position` -> (B, L, D)
  Tensor hidden(const Tensor& ids, const nn::Context& context);  // (B, L) -> (B, L, D), after the last norm
  std::string block_name(size_t i) const;                        // for errors
  const Tensor& head() const { return head_ != nullptr ? head_->value() : embedding_->table(); }

  LanguageModelOptions options_;
  int64_t length_, vocabulary_;
  nn::Embedding* embedding_;
  nn::Parameter *positions_ = nullptr, *head_ = nullptr;
  std::vector<nn::Block*> blocks_;
  nn::Norm* norm_;
};

}  // namespace mara::models
