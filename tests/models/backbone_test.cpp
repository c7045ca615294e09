// Hybrid models: attention in some of the blocks.

#include "models/backbone.h"

#include "models/model_under_test.h"
#include "ops/shape_ops.h"

namespace mara::models {
namespace {

const std::string kHybrid =
    "width: 12, blocks: 3, init_std: 0.3, attention_layers: [1], attention: {heads: 3}, " + kHyena;

std::vector<std::string> names(Model& model) {
  std::vector<std::string> out;
  model.visit_parameters([&](const std::string& name, nn::Parameter&) { out.push_back(name); });
  return out;
}

bool has(const std::vector<std::string>& list, const std::string& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

TEST(Backbone, HybridNamesAndCounts) {
  const ModelUnderTest hybrid(kHybrid), hyena("width: 12, blocks: 3, " + kHyena),
      attention("width: 12, blocks: 3, mixer: {kind: attention, heads: 3}");
  const std::vector<std::string> all = names(*hybrid.model);
  for (const int block : {0, 1, 2}) {
    const std::string mixer = "blocks." + std::to_string(block) + ".mixer.";
    EXPECT_EQ(has(all, mixer + "short_weight"), block != 1) << block;
    EXPECT_TRUE(has(all, mixer + "in_proj.weight")) << block;
  }
  // Two thirds of the blocks of one, one third of the other; the rest is the same in all three.
  const int64_t h = hyena.arena->parameter_count(), a = attention.arena->parameter_count();
  EXPECT_NE(h, a);
  EXPECT_EQ(3 * hybrid.arena->parameter_count(), 2 * h + a);
}

TEST(Backbone, HybridGradientAndGeneration) {
  ModelUnderTest m(kHybrid, Dtype::f64);
  m.check_gradient("hybrid");
  const std::vector<double> whole = m.logits();
  Generation generation = m.model->start(3, 8);
  EXPECT_EQ(generation.mixers.size(), 3u);
  double worst = 0, late = 0;
  for (int64_t t = 0; t < 8; ++t) {
    const Tensor ids = ops::contiguous(ops::slice(m.batch.ids, 1, t, 1));
    const std::vector<double> logits = m.model->step(ids.reshape({3}), generation).to_host();
    for (int64_t row = 0; row < 3; ++row) {
      for (int64_t v = 0; v < 13; ++v) {
        const double got = logits[static_cast<size_t>(row * 13 + v)];
        worst = std::max(worst, std::fabs(got - whole[static_cast<size_t>((row * 8 + t) * 13 + v)]));
        if (t > 0) late = std::max(late, std::fabs(got - whole[static_cast<size_t>((row * 8 + t - 1) * 13 + v)]));
      }
    }
  }
  EXPECT_LT(worst, 1e-10);
  EXPECT_GT(late, 1e-3);  // control
}

TEST(Backbone, HybridNamesTheBlockInErrors) {
  const ModelUnderTest m("causal: false, width: 12, blocks: 2, attention_layers: [0], attention: {heads: 2}, " +
                         kHyena);
  try {
    m.model->start(1, 8);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("in block 0: attention"), std::string::npos) << e.what();
  }
}

TEST(Backbone, ReadsAsMuchAsEveryBlockAllows) {
  const std::string s4d = "width: 12, mixer: {kind: s4d, ssm: {state: 4}}";
  const ModelUnderTest unlimited(s4d), learned("positions: learned, " + s4d), hyena("width: 12, " + kHyena),
      hybrid("attention_layers: [1], attention: {heads: 2}, " + s4d),
      s4("width: 12, mixer: {kind: s4, ssm: {state: 4, period: 32}}");
  EXPECT_EQ(unlimited.model->longest(), nn::kUnlimited);
  EXPECT_EQ(s4.model->longest(), 32);
  for (const ModelUnderTest* limited : {&learned, &hyena, &hybrid}) EXPECT_EQ(limited->model->longest(), 8);
  EXPECT_EQ(nn::parameter(*learned.model, "positions").hints().decay, nn::Decay::vector);

  const NoGrad no_grad;
  const Tensor ids = Tensor::from(std::vector<int32_t>(9, 1), {1, 9}, kCpu);
  EXPECT_EQ(unlimited.model->logits(ids, {}).size(1), 9);
  EXPECT_THROW(hyena.model->logits(ids, {}), Error);
  EXPECT_NO_THROW(unlimited.model->start(1, 9));
  EXPECT_THROW(hyena.model->start(1, 9), Error);
}

TEST(Backbone, RotaryPositionsNeedAttentionSomewhere) {
  EXPECT_NO_THROW(ModelUnderTest("positions: rotary, " + kHybrid));
  EXPECT_THROW(ModelUnderTest("positions: rotary, width: 12, " + kHyena), Error);
}

TEST(Backbone, Errors) {
  const ModelSetup setup{ExampleForm::tokens(13, 8)};
  const auto error = [&](const std::string& options) {
    return error_of(setup, "kind: language_model, width: 12, blocks: 3, mixer: {kind: hyena}, " + options);
  };
  const std::string where = "model.yaml:1: ";
  EXPECT_EQ(error("attention_layers: [1, 3], attention: {heads: 2}"),
            where + "attention_layers: must be different numbers from 0 to blocks - 1 = 2, got 3");
  EXPECT_EQ(error("attention_layers: [1, 1], attention: {heads: 2}"),
            where + "attention_layers: must be different numbers from 0 to blocks - 1 = 2, got 1 twice");
  EXPECT_EQ(error("attention_layers: [-1], attention: {heads: 2}"),
            where + "attention_layers[0]: must be at least 0, got -1");
  EXPECT_EQ(error("attention_layers: [1]"),
            where + "attention: the blocks in attention_layers need it; write attention: {heads: 1}, or more heads");
  EXPECT_EQ(
      error("attention: {heads: 2}"),
      where + "attention: is for the blocks in attention_layers, which names none; add it or leave attention out");
  EXPECT_EQ(error("attention_layers: [1], attention: {heads: 5}"),
            where + "attention.heads: must divide the model's width 12, got 5");
  EXPECT_EQ(error("attention_layers: [0, 2], attention: {heads: 2}"), "");
}

}  // namespace
}  // namespace mara::models
