#include "models/autoencoder.h"

#include "models/model_under_test.h"

namespace mara::models {
namespace {

const std::string kKind = "kind: autoencoder, width: 12, blocks: 1, init_std: 0.3, ";
const std::vector<int32_t> kIds{3, 5, 7, 2, 1, 8}, kSwapped{3, 2, 7, 5, 1, 8};

ModelUnderTest autoencoder(const std::string& options, const std::vector<int32_t>& ids = kIds) {
  ModelUnderTest m({ExampleForm::tokens(9, 6), {.compute = "f64"}}, kKind + options);
  m.batch.ids = Tensor::from(ids, {1, 6}, kCpu);
  m.batch.targets = Tensor::from(std::vector<int32_t>(6, 4), {1, 6}, kCpu);
  return m;
}

TEST(Autoencoder, Gradient) {
  for (const std::string& mixer : {kAttention, kHyena}) {
    autoencoder("decoder_width: 7, norm: rms, " + mixer).check_gradient(mixer);
    autoencoder(mixer).check_gradient(mixer);
  }
}

// One layer of attention without positions sees a set: what it gives at the last position, and with it everything that
// is decoded, does not change when earlier tokens change places.
TEST(Autoencoder, DecodesFromTheLastPositionAlone) {
  const auto difference = [](const std::string& options) {
    return relative_error(autoencoder(options + kAttention, kSwapped).model_losses(),
                          autoencoder(options + kAttention).model_losses());
  };
  EXPECT_LT(difference(""), 1e-12);
  EXPECT_GT(difference("positions: learned, "), 1e-6);  // control
}

TEST(Autoencoder, PlacesAreSinusoids) {
  const ModelUnderTest m = autoencoder(kAttention);
  const nn::Parameter& places = nn::parameter(*m.model, "places");
  EXPECT_FALSE(places.hints().trainable);
  const std::vector<double> p = places.value().to_host();
  EXPECT_NEAR(p[0], 0, 1e-12);
  EXPECT_NEAR(p[1], 1, 1e-12);
  EXPECT_NEAR(p[5 * 12], std::sin(5.0), 1e-12);
  EXPECT_NEAR(p[5 * 12 + 3], std::cos(5.0 / std::pow(10000.0, 2.0 / 12)), 1e-12);
  const std::vector<double> losses = m.model_losses();  // of one class at every place
  EXPECT_GT(std::fabs(losses[0] - losses[3]), 1e-6);
}

TEST(Autoencoder, Refusals) {
  EXPECT_EQ(error_of({{.vocabulary = 9, .length = 6, .targets = 1, .classes = 4}, {}}, kKind + kHyena),
            "model.yaml:1: kind: an autoencoder needs a target token at every position, this task has others; use "
            "classifier");
  const ModelUnderTest m = autoencoder(kHyena);
  EXPECT_THROW(m.model->start(1, 4), Error);
}

}  // namespace
}  // namespace mara::models
