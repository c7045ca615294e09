#include "models/regressor.h"

#include "models/model_under_test.h"

namespace mara::models {
namespace {

const std::string kKind = "kind: regressor, width: 12, blocks: 2, init_std: 0.3, ";

ModelSetup setup() {
  return {{.length = 6, .targets = 6, .classes = 1, .features = 3, .values = true}, {.compute = "f64"}};
}

ModelUnderTest regressor(const std::string& options) {
  ModelUnderTest m(setup(), kKind + options);
  const int32_t no = kernels::kIgnoredTarget;
  m.batch.inputs = Tensor::from(wave(2 * 6 * 3, 0.4), {2, 6, 3}, Dtype::f32, kCpu);
  m.batch.targets = Tensor::from(std::vector<int32_t>{0, no, 0, no, 0, no, no, 0, 0, 0, no, no}, {2, 6}, kCpu);
  m.batch.values = Tensor::from(std::vector<double>{1, 7, -1, 7, 2, 7, 7, 0, 3, 1, 7, 7}, {2, 6}, Dtype::f32, kCpu);
  return m;
}

TEST(Regressor, Gradient) {
  for (const std::string& mixer : {kAttention, kHyena}) regressor("positions: learned, " + mixer).check_gradient(mixer);
}

TEST(Regressor, LossIsTheSquaredErrorWhereScored) {
  ModelUnderTest m = regressor(kHyena);
  nn::assign(*m.model, "head.weight", std::vector<double>(12));
  nn::assign(*m.model, "head.bias", {0.5});
  const NoGrad no_grad;
  const ops::Loss loss = m.model->loss(m.batch, {}, true);
  EXPECT_NEAR(loss.sum.item(), 0.25 + 2.25 + 2.25 + 0.25 + 6.25 + 0.25, 1e-12);  // of 1, -1, 2, 0, 3, 1
  EXPECT_EQ(loss.count.item(), 6);
  EXPECT_FALSE(loss.predictions.defined());
  EXPECT_EQ(loss.token_loss.to_host(), (std::vector<double>{0.25, 0, 2.25, 0, 2.25, 0, 0, 0.25, 6.25, 0.25, 0, 0}));
}

TEST(Regressor, Refusals) {
  EXPECT_EQ(error_of(setup(), kKind + "causal: false, " + kHyena),
            "model.yaml:1: causal: must be true: later positions show the values that are asked for");
  EXPECT_EQ(error_of({ExampleForm::tokens(9, 6), {}}, kKind + kHyena),
            "model.yaml:1: kind: a regressor needs a task of real numbers to predict, this one has classes; use "
            "language_model");
  EXPECT_EQ(error_of(setup(), "kind: classifier, " + kHyena),
            "model.yaml:1: kind: a classifier needs one class per example, this task has others; use regressor");
  ModelUnderTest m = regressor(kHyena);
  m.batch.inputs = Tensor::from(wave(2 * 6 * 2, 0.4), {2, 6, 2}, Dtype::f32, kCpu);
  EXPECT_THROW(m.model->loss(m.batch, {}, false), Error);
  m.batch.inputs = {};
  EXPECT_THROW(m.model->loss(m.batch, {}, false), Error);
}

}  // namespace
}  // namespace mara::models
