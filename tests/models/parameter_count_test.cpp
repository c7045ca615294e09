// Published parameter counts, by construction on the device without memory.

#include <gtest/gtest.h>

#include "models/model.h"
#include "nn/parameter_arena.h"

namespace mara::models {
namespace {

int64_t count(const std::string& options, int64_t vocabulary, int64_t length) {
  struct Mapping {
    ModelConfig config;
    ModelSetup setup;
    void fields(config::Fields& f) { config.fields(f, setup); }
  } mapping{{}, {ExampleForm::tokens(vocabulary, length)}};
  config::Document::parse("{kind: language_model, " + options + "}", "model.yaml").read(mapping);
  const std::unique_ptr<Model> model = mapping.config.options->make(mapping.setup);
  return nn::ParameterArena(*model, kMeta, Dtype::f32, 1).parameter_count();
}

TEST(ParameterCount, SSM_9_6_hyena_153M) {
  EXPECT_EQ(
      count("width: 864, blocks: 18, vocab_multiple: 8, mlp: {ratio: 2}, mixer: {kind: hyena, filter: {width: 64, "
            "features: 33, frequency: 14, features_lr_scale: 1}}",
            50257, 2048),
      153'700'416);
}

TEST(ParameterCount, SSM_9_6_recall_131k) {
  EXPECT_EQ(
      count("width: 64, blocks: 2, mixer: {kind: hyena, filter: {width: 64, features: 5, frequency: 10}}", 30, 131074),
      129'408);
}

TEST(ParameterCount, SSM_7_1_h3_hybrids) {
  const auto hybrid = [](int64_t width, int64_t blocks, const std::string& layers) {
    return count("width: " + std::to_string(width) + ", blocks: " + std::to_string(blocks) +
                     ", vocab_multiple: 8, attention_layers: " + layers + ", attention: {heads: 16}, mixer: {kind: h3}",
                 50257, 2048);
  };
  EXPECT_EQ(hybrid(768, 12, "[1, 8]"), 126'139'392);
  EXPECT_EQ(hybrid(1024, 24, "[1, 13]"), 361'058'304);
  EXPECT_EQ(hybrid(2048, 24, "[1, 13]"), 1'326'096'384);
}

TEST(ParameterCount, SSM_16_h3_recall) { EXPECT_EQ(count("width: 32, blocks: 2, mixer: {kind: h3}", 20, 42), 46'784); }

TEST(ParameterCount, HyenaByHand) {
  // Block: projections, short convolution, filter, skip, MLP with F = 2 D, 2 norms. Model: table, head, last norm.
  const int64_t d = 64, projections = (3 * d * d + 3 * d) + (d * d + d), short_conv = 3 * d * 4;
  const int64_t filter = (5 * d + d) + 2 * (d * d + d) + d * d + d, mlp = (2 * d * d + 2 * d) + (2 * d * d + d);
  const int64_t expected = 2 * (projections + short_conv + filter + d + mlp + 4 * d) + 2 * 10 * d + 2 * d;
  EXPECT_EQ(expected, 95'744);
  EXPECT_EQ(count("width: 64, blocks: 2, tie_head: false, mlp: {ratio: 2}, mixer: {kind: hyena, filter: {width: 64, "
                  "features: 5}}",
                  10, 22),
            expected);
}

TEST(ParameterCount, AttentionByHand) {
  // Block: 2 norms of 2 D, qkv and out with biases, MLP with F = 4 D. Model: table, positions, last norm.
  const int64_t d = 48, vocabulary = 100, length = 20;
  const int64_t block = 4 * d + (3 * d * d + 3 * d) + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d);
  const int64_t expected = 3 * block + vocabulary * d + length * d + 2 * d;
  EXPECT_EQ(count("width: 48, blocks: 3, positions: learned, mixer: {kind: attention, heads: 4}", vocabulary, length),
            expected);
  EXPECT_EQ(
      count("width: 48, blocks: 3, norm: rms, tie_head: false, mlp: {kind: none}, mixer: {kind: attention, heads: "
            "4, bias: false}",
            vocabulary, length),
      3 * (d + 4 * d * d) + 2 * vocabulary * d + d);
}

}  // namespace
}  // namespace mara::models
