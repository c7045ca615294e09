#include "train/sweep.h"

#include <gmock/gmock.h>

#include "train/recipes.h"

namespace mara::train {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

const std::string kHyena = std::string(MARA_SOURCE_DIR) + "/recipes/tests/hyena.yaml";
const std::string kMqar = std::string(MARA_SOURCE_DIR) + "/recipes/tests/mqar.yaml";

std::vector<std::string> names(const std::vector<SweepPoint>& points) {
  std::vector<std::string> out;
  for (const SweepPoint& point : points) out.push_back(point.name);
  return out;
}

std::string error_of(const std::vector<std::string>& recipes, const std::vector<std::string>& axes,
                     const std::vector<std::string>& overrides = {}) {
  try {
    sweep_points(recipes, overrides, axes);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(SweepPoints, LastAxisFastest) {
  const auto points = sweep_points({kHyena}, {"train.steps=7"}, {"model.width=8, 16", "run.seed=1,2"});
  EXPECT_THAT(names(points), ElementsAre("width=8,seed=1", "width=8,seed=2", "width=16,seed=1", "width=16,seed=2"));
  EXPECT_EQ(points[2].recipe.run.seed, 1);
  EXPECT_EQ(points[2].recipe.train.steps, 7);
  EXPECT_THAT(differences(points[1].recipe, points[2].recipe),
              ElementsAre(Field(&Difference::key, "run.seed"), Field(&Difference::first, "8")));
}

TEST(SweepPoints, RecipesSlowest) {
  EXPECT_THAT(names(sweep_points({kHyena, kMqar}, {}, {"run.seed=3,4"})),
              ElementsAre("test_hyena,seed=3", "test_hyena,seed=4", "test_mqar,seed=3", "test_mqar,seed=4"));
  EXPECT_THAT(names(sweep_points({kHyena, kMqar}, {}, {})), ElementsAre("test_hyena", "test_mqar"));
}

TEST(SweepPoints, KeysThatMoveTogether) {
  const auto points = sweep_points({kMqar}, {}, {"task.length=16,8;\n task.num_pairs=3,2"});
  EXPECT_THAT(names(points), ElementsAre("length=16,num_pairs=3", "length=8,num_pairs=2"));
  EXPECT_THAT(differences(points[0].recipe, points[1].recipe),
              ElementsAre(Field(&Difference::second, "8"), Field(&Difference::second, "2")));
}

TEST(SweepPoints, CommasInsideAValue) {
  const auto points =
      sweep_points({kHyena}, {}, {"model.mixer={kind: attention, heads: 2},{kind: hyena}", "run.name=\"a, b\",it's"});
  EXPECT_THAT(names(points),
              ElementsAre("mixer=kind-attention-heads-2,name=a-b", "mixer=kind-attention-heads-2,name=it-s",
                          "mixer=kind-hyena,name=a-b", "mixer=kind-hyena,name=it-s"));
  EXPECT_EQ(points[0].recipe.run.name, "a, b");
  EXPECT_EQ(points[3].recipe.run.name, "it's");
}

TEST(SweepPoints, KeysAreAsShortAsCanBe) {
  EXPECT_THAT(names(sweep_points({kHyena}, {}, {"model.width=8", "model.mixer.filter.width=16", "run.name=x"})),
              ElementsAre("model.width=8,filter.width=16,name=x"));
}

TEST(SweepPoints, SaysWhatIsWrong) {
  const struct {
    std::vector<std::string> axes, says;
  } cases[] = {
      {{"model.width"}, {"--sweep model.width: key=value,value,... is required"}},
      {{"=3"}, {"key=value,value,... is required"}},
      {{"model.width="}, {"model.width: a value is required"}},
      {{"model.width=8,,16"}, {"model.width: a value is required"}},
      {{"model.width=8,16;"}, {"key=value,value,... is required, got ''"}},
      {{"model.width=8,16; optim.lr=1"}, {"as many values each", "model.width has 2", "optim.lr has 1"}},
      {{"model.width=8,[16"}, {"a ] is required"}},
      {{"run.name=\"a,b"}, {"a \" is required"}},
      {{"model.width=8", "model.width=16"}, {"--sweep model.width=16: model.width is swept twice"}},
      {{"model.width=8; model.width=16"}, {"swept twice"}},
      {{"run.name=" + std::string(200, 'x')}, {"at most 200 characters"}},
      {{"model.width=8,8"}, {"another run would have the same folder", "in the run width=8 of "}},
      {{"model.widht=8"}, {"did you mean 'width'?", "in the run widht=8 of "}},
      {{"run.seed=1", "model.width=8,wide"}, {"an integer is required", "in the run seed=1,width=wide of "}},
  };
  for (const auto& c : cases) {
    for (const std::string& part : c.says) EXPECT_THAT(error_of({kHyena}, c.axes), HasSubstr(part));
  }
  const std::string whole = "sweep whole mappings: model.mixer={kind: hyena},{kind: s4d}";
  EXPECT_THAT(error_of({kHyena}, {"model.mixer.kind=hyena,s4d"}), HasSubstr(whole));
  EXPECT_THAT(error_of({kHyena}, {"model.mixer.order=1"}), Not(HasSubstr("whole mappings")));
  EXPECT_EQ(error_of({kHyena}, {whole.substr(whole.find("model"))}), "");
  EXPECT_THAT(error_of({kHyena}, {"model.width=8,16"}, {"model.width=8"}), HasSubstr("model.width is set and swept"));
  EXPECT_THAT(error_of({kHyena, kHyena}, {}), HasSubstr("recipes of different run.name"));
  EXPECT_THAT(error_of({kHyena, kMqar}, {"model.mixer.order=2,1"}), HasSubstr("in the run test_hyena,order=1 of "));
}

}  // namespace
}  // namespace mara::train
