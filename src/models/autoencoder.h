#pragma once

#include <array>

#include "models/backbone.h"

namespace mara::models {

struct AutoencoderOptions : ModelOptions {
  int64_t decoder_width = 0;
  BackboneConfig backbone;

  void fields(config::Fields& f, const ModelSetup& setup) override;
  std::unique_ptr<Model> make(const ModelSetup& setup) const override;
};

/// Everything through the last position (MAD, 2403.17844): tokens -> backbone -> the vector z of the last position; the
/// token at position t is decoded from z + p[t], p[t, 2i] = sin(t / 10000^(2i / D)), p[t, 2i + 1] its cosine, by
///   norm -> linear -> gelu -> norm -> linear -> gelu -> norm -> linear to the vocabulary.
class Autoencoder : public Model {
 public:
  Autoencoder(const AutoencoderOptions& options, const ModelSetup& setup);

  ops::Loss loss(const Batch& batch, const nn::Context& context, bool predictions) override;
  bool turns_positions() const override { return options_.backbone.positions == "rotary"; }

 private:
  struct Layer {
    nn::Norm* norm;
    nn::Linear* linear;
  };

  AutoencoderOptions options_;
  Backbone* backbone_;
  nn::Parameter& places_;  // p (L, D)
  std::array<Layer, 2> layers_;
  nn::Norm* norm_;
  nn::Parameter& head_;
};

}  // namespace mara::models
