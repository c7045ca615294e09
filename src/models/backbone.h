#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "nn/attention.h"
#include "nn/block.h"
#include "nn/embedding.h"

namespace mara::models {

/// The options that models of blocks share: keys of the recipe's `model:` mapping itself.
struct BackboneConfig {
  int64_t width = 64;
  int64_t blocks = 2;
  std::string norm = "layer";
  std::string positions = "none";
  double rotary_base = 10000;
  bool causal = true;
  double embedding_dropout = 0;
  double residual_dropout = 0;
  double init_std = 0.02;
  bool init_rescale = true;
  std::vector<int64_t> attention_layers;
  std::optional<nn::AttentionOptions> attention;  // of these layers
  nn::MixerConfig mixer;                          // of the others
  nn::MlpConfig mlp;

  void fields(config::Fields& f, const ModelSetup& setup);

  /// What matrices that write to the residual stream start from.
  double output_std() const;
  nn::MixerSetup mixer_setup(const ModelSetup& setup) const;
  bool is_attention(int64_t block) const;
};

/// What models of blocks share:
///   tokens -> embedding, or real inputs -> linear map;  (+ learned positions) -> dropout -> pre-norm blocks -> norm.
/// The blocks in attention_layers have attention as their mixer, as in H3's hybrid models (2212.14052). Matrices start
/// from N(0, std^2), those that write to the residual stream from std / sqrt(2 blocks) (Radford et al., 2019); biases
/// from 0, gains from 1. Its parameters are named as the model's own: embedding.table or input.*, positions,
/// blocks.<i>.*, norm.*.
class Backbone : public nn::Module {
 public:
  /// `vocabulary`: rows of the embedding; not used where inputs are real.
  Backbone(const BackboneConfig& config, const ModelSetup& setup, int64_t vocabulary);

  Tensor forward(const Batch& batch, const nn::Context& context) const;  // -> (B, L, D) in the compute dtype
  /// As Model's; the shortest of its blocks', and of learned positions.
  int64_t longest() const { return longest_; }
  /// As Model's; prefill gives the last position, (B, 1, D).
  Generation start(int64_t batch, int64_t max_length) const;
  Tensor prefill(const Tensor& ids, Generation& generation) const;

  const Tensor& table() const { return embedding_->table(); }

 private:
  Tensor embed(const Batch& batch, int64_t position) const;  // the first at `position` -> (B, L, D)
  std::string block_name(size_t i) const;                    // for errors

  BackboneConfig config_;
  int64_t longest_, features_;
  Dtype compute_, residual_;
  nn::Embedding* embedding_ = nullptr;  // or
  nn::Linear* input_ = nullptr;
  nn::Parameter* positions_ = nullptr;
  std::vector<nn::Block*> blocks_;
  nn::Norm* norm_;
};

}  // namespace mara::models
