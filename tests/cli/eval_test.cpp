// mara eval, as a user runs it.

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace mara::cli {
namespace {

using Json = nlohmann::json;

const std::string kRecipes = std::string(MARA_SOURCE_DIR) + "/recipes/";

class Eval : public Program {
 protected:
  void train_recipe(const std::string& recipe, const std::vector<std::string>& settings) {
    std::vector<std::string> arguments = {"train", kRecipes + recipe, "--out", "run"};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    ASSERT_EQ(run(arguments), 0) << output();
  }
  void train_text() {
    std::ofstream text(folder_ / "text.txt");
    for (int i = 0; i < 200; ++i) text << "line " << i * i % 97 << " of a text\n";
    text.close();
    ASSERT_EQ(run({"data", "tokenize", "text.txt", "--valid-tail", "0.3", "--out", "shards"}), 0) << output();
    train_recipe("text/hyena_bytes.yaml", {"data.length=32", "model.width=16", "model.blocks=1", "train.steps=5",
                                           "train.batch=4", "eval.examples=4"});
  }
  /// The last line of the run's metrics: the evaluation that ended it.
  Json last_of_training() const { return Json::parse(train::lines_of(folder_ / "run/metrics.jsonl").back()); }
  Json evaluate(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"eval", "run", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(run(arguments), 0) << output();
    return Json::parse(printed(), nullptr, false);
  }
};

void expect_same(const Json& result, const Json& of_training, const std::vector<std::string>& keys) {
  for (const std::string& key : keys) EXPECT_EQ(result.at(key), of_training.at(key)) << key;
}

TEST_F(Eval, SaysOfATaskWhatTrainingSaid) {
  train_recipe("tests/mqar.yaml", {"train.steps=5"});
  const Json test = last_of_training();
  ASSERT_EQ(test.at("split"), "test");
  const Json all = evaluate();
  EXPECT_EQ(all.at("step"), 5);
  EXPECT_EQ(all.at("on"), "mqar, test");
  const Json& result = all.at("results").at(0);
  expect_same(result, test, {"examples", "scored", "loss", "accuracy"});
  for (const char* by : {"by_position", "by_distance"}) {
    int64_t scored = 0;
    double right = 0;
    for (const Json& group : result.at(by)) {
      scored += group.at("scored").get<int64_t>();
      right += group.at("accuracy").get<double>() * group.at("scored").get<double>();
    }
    EXPECT_EQ(scored, test.at("scored")) << by;
    EXPECT_NEAR(right / static_cast<double>(scored), test.at("accuracy").get<double>(), 1e-9) << by;
  }
  const Json other = evaluate({"--split", "valid", "--examples", "30", "--threads", "1"}).at("results").at(0);
  EXPECT_EQ(other.at("examples"), 30);
  EXPECT_NE(other.at("loss"), result.at("loss"));

  EXPECT_EQ(run({"eval", "run/checkpoints/step_00000005.h5"}), 0) << output();
  EXPECT_NE(printed().find("accuracy"), std::string::npos);
  EXPECT_NE(printed().find("\nposition "), std::string::npos) << printed();
  EXPECT_NE(printed().find("\ndistance "), std::string::npos) << printed();
}

TEST_F(Eval, SaysOfATextWhatTrainingSaid) {
  train_text();
  const Json last = last_of_training();
  const Json all = evaluate({"--stride", "8"});
  const Json &side_by_side = all.at("results").at(0), &sliding = all.at("results").at(1);
  expect_same(side_by_side, last, {"examples", "scored", "loss", "accuracy", "perplexity", "bits_per_byte"});
  EXPECT_EQ(side_by_side.at("window"), 32);
  EXPECT_EQ(side_by_side.at("stride"), 32);
  EXPECT_EQ(side_by_side.at("by_position").size(), 32u);
  EXPECT_EQ(sliding.at("window"), 32);
  EXPECT_EQ(sliding.at("stride"), 8);
  EXPECT_GT(sliding.at("examples"), side_by_side.at("examples"));
  EXPECT_NE(sliding.at("loss"), side_by_side.at("loss"));
  EXPECT_NEAR(sliding.at("perplexity").get<double>(), std::exp(sliding.at("loss").get<double>()), 1e-9);

  // Of the training data nothing is needed, and another text will do.
  std::filesystem::rename(folder_ / "shards", folder_ / "moved");
  EXPECT_EQ(run({"eval", "run"}), 2);
  EXPECT_NE(output().find("shards/valid-*.h5"), std::string::npos) << output();
  const Json moved = evaluate({"--data", "moved/valid-*.h5"}).at("results").at(0);
  expect_same(moved, last, {"scored", "loss", "bits_per_byte"});
  const Json other = evaluate({"--data", "moved/train-*.h5", "--window", "16", "--examples", "5"}).at("results").at(0);
  EXPECT_EQ(other.at("window"), 16);
  EXPECT_EQ(other.at("scored"), 5 * 16);
  EXPECT_EQ(run({"eval", "run", "--data", "moved/valid-*.h5", "--stride", "8"}), 0) << output();
  for (const char* part : {"(T = 32, S = 32)", "(T = 32, S = 8)", "perplexity", "bits per byte", "step 5"}) {
    EXPECT_NE(printed().find(part), std::string::npos) << part << "\n" << printed();
  }
}

TEST_F(Eval, SaysWhatCannotBe) {
  train_recipe("tests/mqar.yaml", {"train.steps=2", "eval.test_examples=0"});
  const struct {
    std::vector<std::string> arguments, says;
  } cases[] = {
      {{"eval"}, {"checkpoint is required"}},
      {{"eval", "absent"}, {"absent"}},
      {{"eval", "run/recipe.yaml"}, {"run/recipe.yaml", "a checkpoint of Mara is required"}},
      {{"eval", "run"}, {"--examples 5000"}},
      {{"eval", "run", "--examples", "-1"}, {"--examples"}},
      {{"eval", "run", "--stride", "0"}, {"--stride"}},
      {{"eval", "run", "--stride", "3"}, {"--stride", "language models"}},
      {{"eval", "run", "--data", "x.h5"}, {"--data", "language models"}},
      {{"eval", "run", "--split", "train"}, {"--split"}},
      {{"eval", "run", "--set", "model.width=31"}, {"does not fit"}},
      {{"eval", "run", "--set", "model.widht=31"}, {"widht"}},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(run(c.arguments), 2) << output();
    EXPECT_EQ(printed(), "");
    for (const std::string& part : c.says)
      EXPECT_NE(output().find(part), std::string::npos) << part << "\n" << output();
  }
}

TEST_F(Eval, SaysWhatCannotBeOfText) {
  train_text();
  EXPECT_EQ(run({"eval", "run", "--stride", "33"}), 2);
  EXPECT_NE(output().find("stride from 1 to the window's 32"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--window", "33"}), 2);
  EXPECT_NE(output().find("--window: at most the 32 tokens"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--split", "test"}), 2);
  EXPECT_NE(output().find("no data.test"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--split", "valid", "--data", "shards/valid-*.h5"}), 2);
  EXPECT_NE(output().find("leave one out"), std::string::npos) << output();
}

}  // namespace
}  // namespace mara::cli
