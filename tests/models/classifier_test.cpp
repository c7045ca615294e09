#include "models/classifier.h"

#include "models/model_under_test.h"

namespace mara::models {
namespace {

using Ids = std::vector<int32_t>;

ModelSetup setup(int64_t length, bool padded, int64_t features = 0, Dtype dtype = Dtype::f64) {
  return {{.vocabulary = features > 0 ? 0 : 9,
           .length = length,
           .targets = 1,
           .classes = 4,
           .features = features,
           .padded = padded},
          {.compute = to_string(dtype)}};
}

const std::string kKind = "kind: classifier, width: 12, blocks: 2, init_std: 0.3, ";

ModelUnderTest classifier(const ModelSetup& setup, const std::string& options, const Ids& ids, const Ids& targets) {
  ModelUnderTest m(setup, kKind + options);
  const auto rows = static_cast<int64_t>(targets.size());
  m.batch.targets = Tensor::from(targets, {rows, 1}, kCpu);
  if (setup.features == 0) {
    m.batch.ids = Tensor::from(ids, {rows, static_cast<int64_t>(ids.size()) / rows}, kCpu);
  } else {
    m.batch.inputs = Tensor::from(wave(rows * setup.length * setup.features, 0.4), {rows, setup.length, setup.features},
                                  Dtype::f32, kCpu);
  }
  return m;
}

const Ids kPadded{3, 5, 7, 2, 0, 0, 8, 1, 0, 0, 0, 0};  // 4 and 2 tokens of 6

TEST(Classifier, Gradient) {
  for (const std::string pooling : {"pooling: mean, ", "pooling: last, "}) {
    for (const std::string& mixer : {kAttention, kHyena}) {
      classifier(setup(6, true), pooling + mixer, kPadded, {3, 1}).check_gradient(pooling + mixer);
      classifier(setup(6, false), pooling + mixer, kPadded, {3, 1}).check_gradient(pooling + mixer + ", not padded");
      classifier(setup(6, false, 3), "causal: false, " + pooling + mixer, {}, {3, 1}).check_gradient(mixer + ", real");
    }
  }
}

TEST(Classifier, PaddingDoesNotCount) {
  for (const std::string pooling : {"pooling: mean, ", "pooling: last, "}) {
    for (const bool causal : {true, false}) {
      const std::string options = pooling + (causal ? "" : "causal: false, ") + kAttention;
      const auto losses = [&](const Ids& ids, const Ids& targets, bool padded) {
        return classifier(setup(6, padded), options, ids, targets).model_losses();
      };
      const double longer = losses(kPadded, {3, 1}, true)[0], shorter = losses(kPadded, {3, 1}, true)[1];
      const double alone = losses({3, 5, 7, 2}, {3}, true)[0], pair = losses({8, 1}, {1}, true)[0];
      // To a mixer that looks both ways padding is a token.
      EXPECT_EQ(std::fabs(longer - alone) < 1e-12, causal) << options;
      EXPECT_EQ(std::fabs(shorter - pair) < 1e-12, causal) << options;
      EXPECT_GT(std::fabs(losses(kPadded, {3, 1}, false)[0] - alone), 1e-6) << options;  // control
    }
  }
}

TEST(Classifier, LastIsTheLastToken) {
  // Without mixing, what stands before the last token cannot matter; attention to one position is none.
  const auto loss = [](const std::string& pooling, Ids ids, bool padded) {
    if (padded) ids.insert(ids.end(), 2, 0);
    ModelUnderTest m = classifier(setup(std::ssize(ids), padded), pooling + kAttention, ids, {2});
    for (const int block : {0, 1}) {
      const std::string name = "blocks." + std::to_string(block) + ".mixer.out_proj.weight";
      nn::assign(*m.model, name, std::vector<double>(144));
    }
    return m.model_losses()[0];
  };
  for (const bool padded : {true, false}) {
    const auto difference = [&](const std::string& pooling, const Ids& ids) {
      return std::fabs(loss(pooling, {3, 5, 7, 2}, padded) - loss(pooling, ids, padded));
    };
    EXPECT_LT(difference("pooling: last, ", {1, 1, 8, 2}), 1e-12) << padded;
    EXPECT_GT(difference("pooling: mean, ", {1, 1, 8, 2}), 1e-6) << padded;
    EXPECT_GT(difference("pooling: last, ", {3, 5, 7, 4}), 1e-6) << padded;
  }
}

TEST(Classifier, PrecisionsAgree) {
  for (const bool padded : {true, false}) {
    for (const std::string pooling : {"pooling: mean, ", "pooling: last, "}) {
      const auto losses = [&](Dtype dtype) {
        return classifier(setup(6, padded, 0, dtype), pooling + kHyena, kPadded, {3, 1}).model_losses();
      };
      const std::vector<double> exact = losses(Dtype::f64);
      EXPECT_LT(relative_error(losses(Dtype::f32), exact), tolerance(Dtype::f32));
      EXPECT_LT(relative_error(losses(Dtype::bf16), exact), 4 * tolerance(Dtype::bf16));
      EXPECT_GT(relative_error(losses(Dtype::bf16), exact), 1e-6);  // control: it does round
    }
  }
}

TEST(Classifier, Refusals) {
  const ModelSetup tokens{ExampleForm::tokens(9, 6)};
  EXPECT_EQ(error_of(tokens, kKind + kHyena),
            "model.yaml:1: kind: a classifier needs one class per example, this task has others; use language_model");
  EXPECT_EQ(error_of(setup(6, true), "kind: language_model, " + kHyena),
            "model.yaml:1: kind: a language_model needs tokens and a target at each of them, this task has others; use "
            "classifier");
  const ModelUnderTest m = classifier(setup(6, true), kHyena, kPadded, {3, 1});
  EXPECT_THROW(m.model->logits(m.batch.ids, {}), Error);
  EXPECT_EQ(m.model->vocabulary(), 0);
  EXPECT_THROW(m.model->start(1, 4), Error);
  Batch longer = m.batch;
  longer.ids = Tensor::from(Ids(14, 1), {2, 7}, kCpu);
  EXPECT_THROW(m.model->loss(longer, {}, false), Error);
}

}  // namespace
}  // namespace mara::models
