#include "train/run_folder.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "train/recipes.h"

namespace mara::train {
namespace {

using Json = nlohmann::json;

TEST(RunFolder, RefusesAndMovesAside) {
  const TemporaryFolder folder;
  const std::filesystem::path run = folder / "runs/first";
  EXPECT_NO_THROW(RunFolder::check_free(run, false));
  { const RunFolder made(run, "one\n", false); }
  EXPECT_EQ(read_file(run / "recipe.yaml"), "one\n");
  EXPECT_THROW(RunFolder::check_free(run, false), Error);
  EXPECT_THROW(RunFolder(run, "two\n", false), Error);
  EXPECT_EQ(read_file(run / "recipe.yaml"), "one\n");
  { const RunFolder made(run, "two\n", true); }
  { const RunFolder made(run, "three\n", true); }
  EXPECT_EQ(read_file(run / "recipe.yaml"), "three\n");
  EXPECT_EQ(read_file(run.string() + ".old-1/recipe.yaml"), "one\n");
  EXPECT_EQ(read_file(run.string() + ".old-2/recipe.yaml"), "two\n");
}

TEST(RunFolder, SaysWhatItCannotMake) {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "x";
  EXPECT_THROW(RunFolder(folder / "file/run", "", false), Error);
}

TEST(RunFolder, MetricsOfARun) {
  const TemporaryFolder folder;
  const Recipe recipe =
      test_recipe("hyena", {"train.steps=6", "eval.every=4", "eval.examples=8", "eval.test_examples=8"});
  {
    RunFolder run(folder / "run", config::to_yaml(recipe), false);
    Trainer(recipe, kCpu).run(run);
  }
  const std::vector<std::string> lines = lines_of(folder / "run/metrics.jsonl");
  ASSERT_EQ(lines.size(), 6u + 2 + 1);  // steps, evaluations after 4 and 6, test
  int64_t step = 0;
  std::vector<std::string> splits;
  for (const std::string& line : lines) {
    const Json object = Json::parse(line);
    if (object.contains("split")) {
      splits.push_back(object["split"]);
      EXPECT_EQ(object["step"], step);
      for (const char* key : {"examples", "scored", "loss", "accuracy"}) EXPECT_TRUE(object[key].is_number()) << key;
      EXPECT_EQ(object["examples"], 8);
    } else {
      EXPECT_EQ(object["step"], ++step);
      for (const char* key : {"loss", "lr", "grad_norm", "tokens_per_second", "memory", "seconds"}) {
        EXPECT_TRUE(object[key].is_number()) << key;
      }
      EXPECT_TRUE(object["skipped"].is_boolean());
    }
  }
  EXPECT_EQ(step, 6);
  EXPECT_EQ(splits, (std::vector<std::string>{"valid", "valid", "test"}));
  const Recipe again = Recipe::load((folder / "run/recipe.yaml").string());
  EXPECT_EQ(config::to_yaml(again), config::to_yaml(recipe));
  EXPECT_EQ(read_file(folder / "run/recipe.yaml"), config::to_yaml(recipe));
  EXPECT_TRUE(std::filesystem::exists(folder / "run/log.txt"));
  EXPECT_EQ(RunFolder::outcome(folder / "run")->steps, 6);
}

TEST(RunFolder, OutcomeReadsBack) {
  const TemporaryFolder folder;
  EXPECT_FALSE(RunFolder::outcome(folder / "run"));
  RunFolder::prepare(folder / "run", "recipe\n");
  RunFolder::prepare(folder / "run", "another\n");
  EXPECT_EQ(read_file(folder / "run/recipe.yaml"), "recipe\n");
  EXPECT_FALSE(RunFolder::outcome(folder / "run"));
  {
    RunFolder run(folder / "run", "recipe\n", ResumePoint{});
    run.write(Outcome{.steps = 7, .skipped = 1, .seconds = 2.5, .tokens_per_second = NAN, .stopped_early = true});
    const std::optional<Outcome> without_test = RunFolder::outcome(run.path());
    EXPECT_EQ(without_test->skipped, 1);
    EXPECT_TRUE(without_test->stopped_early);
    EXPECT_FALSE(without_test->test);
    run.write(Outcome{.steps = 8, .test = eval::Evaluation{.examples = 3, .loss = HUGE_VAL, .accuracy = 0.25}});
  }
  const std::optional<Outcome> outcome = RunFolder::outcome(folder / "run");
  EXPECT_EQ(outcome->steps, 8);
  EXPECT_EQ(outcome->test->examples, 3);
  EXPECT_EQ(outcome->test->accuracy, 0.25);
  EXPECT_TRUE(std::isnan(outcome->test->loss));
  EXPECT_FALSE(outcome->test->bits_per_byte || outcome->test->reference);
  {
    RunFolder run(folder / "values", "recipe\n", false);
    const eval::Evaluation values{.examples = 3, .loss = 0.5, .reference = 0.125};
    run.write(8, tasks::Split::test, values);
    run.write(Outcome{.steps = 8, .test = values});
  }
  EXPECT_FALSE(Json::parse(lines_of(folder / "values/metrics.jsonl").at(0)).contains("accuracy"));
  EXPECT_FALSE(RunFolder::outcome(folder / "values")->test->accuracy);
  EXPECT_EQ(RunFolder::outcome(folder / "values")->test->reference, 0.125);
  // A run that goes on has not come to its end.
  { const RunFolder resumed(folder / "run", "recipe\n", ResumePoint{}); }
  EXPECT_FALSE(RunFolder::outcome(folder / "run"));
  EXPECT_TRUE(std::filesystem::exists(folder / "run/outcome.1.json"));
  for (const char* damaged : {"{", "[]", "{\"steps\":\"many\"}"}) {
    std::ofstream(folder / "run/outcome.json") << damaged;
    EXPECT_THROW(RunFolder::outcome(folder / "run"), Error) << damaged;
  }
}

TEST(RunFolder, NumbersThatJsonDoesNotHaveAreNull) {
  const TemporaryFolder folder;
  {
    RunFolder run(folder / "run", "", false);
    run.write({.step = 1, .loss = std::nan(""), .grad_norm = HUGE_VAL, .skipped = true});
  }
  const Json object = Json::parse(lines_of(folder / "run/metrics.jsonl").at(0));
  EXPECT_TRUE(object["loss"].is_null());
  EXPECT_TRUE(object["grad_norm"].is_null());
  EXPECT_EQ(object["skipped"], true);
}

}  // namespace
}  // namespace mara::train
