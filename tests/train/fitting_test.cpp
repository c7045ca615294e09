#include "train/fitting.h"

#include "train/describe.h"
#include "train/recipes.h"

namespace mara::train {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

int64_t bytes(const Recipe& recipe) {
  const Description d = describe(recipe);
  return d.weight_bytes + d.optimizer_bytes + d.activation_bytes + 2 * kGiB;
}

TEST(Fitting, NamesTheLargestMicroBatch) {
  const std::string big = std::string(MARA_SOURCE_DIR) + "/recipes/lm/gpt_124m.yaml";
  const auto advice = [&](int64_t capacity, const std::vector<std::string>& set = {}) {
    return what_would_fit(Recipe::load(big, set), capacity);
  };
  const int64_t half = bytes(Recipe::load(big, {"train.micro_batch=32"}));
  EXPECT_TRUE(advice(half).starts_with("--set train.micro_batch=32 needs about ")) << advice(half);
  EXPECT_TRUE(advice(half - 1).starts_with("--set train.micro_batch=16 needs")) << advice(half - 1);
  // Only recomputing helps.
  const int64_t one = bytes(Recipe::load(big, {"train.micro_batch=1"})) - 1;
  EXPECT_TRUE(advice(one).find("--set train.recompute=block needs") != std::string::npos) << advice(one);
  EXPECT_TRUE(advice(kGiB).find("too much as well") != std::string::npos) << advice(kGiB);
}

}  // namespace
}  // namespace mara::train
