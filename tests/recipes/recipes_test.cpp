// Every recipe there is.

#include "train/recipes.h"

#include "train/describe.h"

namespace mara::train {
namespace {

class Recipes : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(Recipes, DescribeThemselves) {
  const Description d = describe(Recipe::load(GetParam().string()));
  EXPECT_GT(d.parameter_count, 0);
  EXPECT_GT(d.activation_bytes, 0);
  EXPECT_GT(d.flops_per_token, 0);
}

TEST_P(Recipes, PrintedFormReadsBack) {
  const std::string printed = config::to_yaml(Recipe::load(GetParam().string()));
  EXPECT_EQ(config::to_yaml(parse_recipe(printed)), printed);
  EXPECT_NE(printed, config::to_yaml(Recipe::load(GetParam().string(), {"optim.lr=0.123"})));  // control
}

TEST_P(Recipes, SayWhatToExpect) {
  std::string comments;
  for (const std::string& line : lines_of(GetParam())) {
    if (line.empty() || line[0] != '#') break;
    comments += line + "\n";
  }
  EXPECT_EQ(comments.find("# "), 0u) << "begins with what it shows";
  for (const std::string part : {"\n# Expected: ", "\n# Time on "}) {
    EXPECT_NE(comments.find(part), std::string::npos) << "has a line" << part;
  }
}

std::string name(const testing::TestParamInfo<std::filesystem::path>& info) {
  std::string out = std::filesystem::relative(info.param, std::filesystem::path(MARA_SOURCE_DIR) / "recipes").string();
  out.resize(out.size() - std::string(".yaml").size());
  for (char& c : out) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return out;
}
INSTANTIATE_TEST_SUITE_P(All, Recipes, testing::ValuesIn(recipe_files()), name);

class TestRecipes : public Recipes {};
TEST_P(TestRecipes, Learn) {
  const Recipe recipe = Recipe::load(GetParam().string());
  EXPECT_EQ(recipe.train.steps, 50);
  Trainer trainer(recipe, kCpu);
  double first = 0, last = 0;  // mean loss of five steps
  for (int64_t step = 0; step < 50; ++step) {
    const StepMetrics metrics = trainer.step(step);
    EXPECT_FALSE(metrics.skipped);
    if (step < 5) first += metrics.loss / 5;
    if (step >= 45) last += metrics.loss / 5;
  }
  EXPECT_LT(last, first - 0.1);
}
INSTANTIATE_TEST_SUITE_P(All, TestRecipes, testing::ValuesIn(recipe_files("tests")), name);

}  // namespace
}  // namespace mara::train
