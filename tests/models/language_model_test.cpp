#include "models/language_model.h"

#include "models/model_under_test.h"

namespace mara::models {
namespace {

using nn::parameter;

TEST(LanguageModel, TiedHeadIsTheTable) {
  ModelUnderTest tied(both("", false)), untied(both("tie_head: false, ", false));
  EXPECT_EQ(untied.arena->parameter_count(), tied.arena->parameter_count() + 13 * 12);
  const Tensor& table = parameter(*tied.model, "embedding.table").master();
  const std::vector<double> before = tied.logits();
  // Row 12 occurs as an input nowhere in the first half, so a change of it shows in the logits of class 12 alone.
  std::vector<double> values = table.to_host();
  for (size_t i = 12 * 12; i < 13 * 12; ++i) values[i] += 1;
  const std::vector<int32_t> ids = tied.batch.ids.to_host_i32();
  ASSERT_EQ(std::count(ids.begin(), ids.end(), 12), 0);
  nn::assign(*tied.model, "embedding.table", values);
  const std::vector<double> after = tied.logits();
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i] != after[i], i % 13 == 12) << i;
  }
  EXPECT_EQ(parameter(*untied.model, "head").hints().decay, nn::Decay::matrix);
}

TEST(LanguageModel, PadsTheVocabulary) {
  const ModelUnderTest m(both("vocab_multiple: 8, ", false));
  EXPECT_EQ(parameter(*m.model, "embedding.table").shape(), (Shape{16, 12}));
  EXPECT_EQ(m.model->logits(m.batch.ids, {}).shape(), (Shape{3, 8, 16}));
  const ModelUnderTest larger(both("vocab: 20, ", false));
  EXPECT_EQ(parameter(*larger.model, "embedding.table").shape(), (Shape{20, 12}));
  EXPECT_THROW(ModelUnderTest(both("vocab: 12, ", false)), Error);  // the data has 13
}

TEST(LanguageModel, Positions) {
  // A row of equal tokens: without positions attention sees no difference between the places.
  const auto spread = [](const std::string& positions) {
    const ModelUnderTest m("width: 12, blocks: 2, init_std: 0.3, positions: " + positions + ", " + kAttention,
                           Dtype::f64);
    const std::vector<double> logits = m.logits(std::vector<int32_t>(24, 3));
    return std::fabs(logits[0] - logits[7 * 13]);
  };
  EXPECT_LT(spread("none"), 1e-12);
  EXPECT_GT(spread("learned"), 1e-3);
  EXPECT_LT(spread("rotary"), 1e-12);  // rotary positions turn queries and keys, and all values are equal
  const auto order_matters = [](const std::string& positions) {
    const ModelUnderTest m("width: 12, blocks: 1, init_std: 0.5, positions: " + positions + ", " + kAttention,
                           Dtype::f64);
    std::vector<int32_t> ids = m.batch.ids.to_host_i32();
    const std::vector<double> before = m.logits(ids);
    std::swap(ids[0], ids[1]);
    return std::fabs(m.logits(ids)[7 * 13] - before[7 * 13]);
  };
  EXPECT_LT(order_matters("none"), 1e-12);
  EXPECT_GT(order_matters("rotary"), 1e-6);
  EXPECT_THROW(ModelUnderTest("width: 12, positions: rotary, " + kHyena), Error);
  EXPECT_THROW(ModelUnderTest("width: 6, positions: rotary, " + kAttention), Error);  // heads of an odd size
  const ModelUnderTest m(both("positions: learned, ", false));
  EXPECT_THROW(m.model->logits(Tensor::from(std::vector<int32_t>(9), {1, 9}, kCpu), {}), Error);  // too long
}

TEST(LanguageModel, InitialValues) {
  ModelUnderTest m("width: 64, blocks: 8, init_std: 0.05, positions: learned, " + kHyena);
  const auto deviation = [&](const std::string& name) {
    const std::vector<double> values = parameter(*m.model, name).master().to_host();
    return std::sqrt(nn::dot(values, values) / static_cast<double>(values.size()));
  };
  for (const std::string name : {"embedding.table", "positions", "blocks.0.mixer.in_proj.weight",
                                 "blocks.7.mlp.in.weight", "blocks.3.mixer.filter.forward.layer1.weight"}) {
    EXPECT_NEAR(deviation(name), 0.05, 0.05 * 0.25) << name;
  }
  for (const std::string name : {"blocks.0.mixer.out_proj.weight", "blocks.7.mlp.out.weight"}) {
    EXPECT_NEAR(deviation(name), 0.05 / 4, 0.05 / 4 * 0.1) << name;  // sqrt(2 blocks) = 4
  }
  for (const std::string name : {"blocks.0.mixer.out_proj.bias", "blocks.7.mlp.in.bias", "norm.bias"}) {
    EXPECT_EQ(deviation(name), 0) << name;
  }
  EXPECT_EQ(deviation("norm.gain"), 1);
  EXPECT_NEAR(deviation("blocks.2.mixer.skip"), 1, 0.3);
  ModelUnderTest plain("width: 64, blocks: 8, init_std: 0.05, init_rescale: false, " + kHyena);
  const std::vector<double> out = parameter(*plain.model, "blocks.7.mlp.out.weight").master().to_host();
  EXPECT_NEAR(std::sqrt(nn::dot(out, out) / static_cast<double>(out.size())), 0.05, 0.005);
}

TEST(LanguageModel, LossAtInitialisation) {
  for (const bool hyena : {true, false}) {
    const ModelUnderTest m(both("", hyena), Dtype::f32, kCpu, 500, 8);
    EXPECT_NEAR(m.mean_loss(), std::log(500.0), 0.5);
  }
}

TEST(LanguageModel, Causal) {
  for (const bool hyena : {true, false}) {
    for (const bool causal : {true, false}) {
      const ModelUnderTest m(
          both(std::string("init_std: 0.3, positions: learned, causal: ") + (causal ? "true, " : "false, "), hyena),
          Dtype::f64);
      std::vector<int32_t> ids = m.batch.ids.to_host_i32();
      const std::vector<double> before = m.logits(ids);
      ids[5] = (ids[5] + 1) % 13;
      const std::vector<double> after = m.logits(ids);
      double earlier = 0, later = 0;
      for (size_t i = 0; i < 8 * 13; ++i) {
        double& worst = i < 5 * 13 ? earlier : later;
        worst = std::max(worst, std::fabs(after[i] - before[i]));
      }
      EXPECT_GT(later, 1e-3);
      EXPECT_EQ(earlier < 1e-12, causal) << earlier;  // the bidirectional form is the control
      EXPECT_TRUE(std::equal(before.begin() + 8 * 13, before.end(), after.begin() + 8 * 13)) << "other rows";
    }
  }
}

TEST(LanguageModel, PrecisionsAgree) {
  for (const bool hyena : {true, false}) {
    const std::string options = both("init_std: 0.2, ", hyena);
    ModelUnderTest exact(options, Dtype::f64), wide(options), narrow(options, Dtype::bf16);
    const std::vector<double> logits = exact.logits();
    EXPECT_LT(relative_error(wide.logits(), logits), tolerance(Dtype::f32));
    EXPECT_LT(relative_error(narrow.logits(), logits), 4 * tolerance(Dtype::bf16));
    EXPECT_GT(relative_error(narrow.logits(), logits), 1e-5);  // control: it does round
    const std::vector<double> gradients = exact.gradients({});
    EXPECT_LT(relative_error(wide.gradients({}), gradients), 10 * tolerance(Dtype::f32));
    EXPECT_LT(relative_error(narrow.gradients({}), gradients), 6 * tolerance(Dtype::bf16));
  }
}

TEST(LanguageModel, RecomputeIsBitEqualAndSavesMemory) {
  for (const bool hyena : {true, false}) {
    const std::string dropouts = "embedding_dropout: 0.1, residual_dropout: 0.2, mlp: {dropout: 0.1}, ";
    for (const std::string& options : {std::string(), dropouts}) {
      ModelUnderTest m("width: 12, blocks: 6, " + options + (hyena ? kHyena : kAttention));
      int64_t saved_peak = 0, again_peak = 0;
      const std::vector<double> saved = m.gradients({.training = true}, &saved_peak);
      const std::vector<double> again = m.gradients({.training = true, .recompute_blocks = true}, &again_peak);
      EXPECT_EQ(saved, again);
      EXPECT_LT(again_peak, saved_peak);
      EXPECT_EQ(saved != m.gradients({}), !options.empty());  // dropout did something
    }
  }
}

TEST(LanguageModel, EachDropoutDrawsInTrainingOnly) {
  const auto draws = [](const std::string& option, bool training) {
    const ModelUnderTest m(both(option, false));
    RandomStream random{.seed = 7};
    int64_t step = 0;
    random.step = &step;
    const RandomScope scope(random);
    m.model->loss(m.batch, {.training = training}, false);
    return random.next_op;
  };
  EXPECT_EQ(draws("", true), 0u);
  EXPECT_EQ(draws("embedding_dropout: 0.1, ", true), 1u);
  EXPECT_EQ(draws("residual_dropout: 0.1, ", true), 4u);  // two branches of two blocks
  EXPECT_EQ(draws("mlp: {dropout: 0.1}, ", true), 2u);
  EXPECT_EQ(draws("embedding_dropout: 0.1, residual_dropout: 0.1, mlp: {dropout: 0.1}, ", false), 0u);
}

// The whole model's gradient, through every layer, against central differences.
TEST(LanguageModel, Gradient) {
  for (const bool hyena : {true, false}) {
    ModelUnderTest m(both("init_std: 0.3, positions: learned, ", hyena), Dtype::f64);
    m.check_gradient(hyena ? "hyena" : "attention");
  }
}

TEST(LanguageModel, RefusesSegments) {
  const ModelUnderTest m(both("", true));
  try {
    m.model->loss(m.batch, {.ids = m.batch.ids, .segments = m.batch.ids}, false);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("in block 0: hyena"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace mara::models
