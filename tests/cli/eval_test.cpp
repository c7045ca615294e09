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
  EXPECT_FALSE(all.contains("set"));
  const Json set = evaluate({"--set", "eval.batch=3", "--set", "task.num_pairs=2"});
  EXPECT_EQ(set.at("set"), Json({"eval.batch=3", "task.num_pairs=2"}));
  EXPECT_NE(set.at("results").at(0).at("loss"), result.at("loss"));
  const Json other = evaluate({"--split", "valid", "--examples", "30", "--threads", "1"}).at("results").at(0);
  EXPECT_EQ(other.at("examples"), 30);
  EXPECT_NE(other.at("loss"), result.at("loss"));

  EXPECT_EQ(run({"eval", "run/checkpoints/step_00000005.h5", "--set", "eval.batch=3"}), 0) << output();
  EXPECT_NE(printed().find("mqar, test, --set eval.batch=3\n"), std::string::npos);
  EXPECT_NE(printed().find("accuracy"), std::string::npos);
  EXPECT_NE(printed().find("% of the examples right throughout"), std::string::npos) << printed();
  EXPECT_NE(printed().find("\nposition "), std::string::npos) << printed();
  EXPECT_NE(printed().find("\ndistance "), std::string::npos) << printed();
}

TEST_F(Eval, OtherLengthsAndRates) {
  const std::string rate = "model.mixer.ssm.rate=0.5", twice = "task.length=32";
  const auto train_mixer = [&](const char* mixer, const char* positions = "none") {
    std::filesystem::remove_all(folder_ / "run");
    train_recipe("tests/mqar.yaml", {"train.steps=5", "task.vocab=64", std::string("model.positions=") + positions,
                                     std::string("model.mixer={kind: ") + mixer + "}"});
  };
  for (const char* mixer : {"s4d", "s4", "h3"}) {
    train_mixer(mixer);
    const Json finer = evaluate({"--set", twice, "--set", rate}).at("results").at(0);
    EXPECT_EQ(finer.at("examples"), 64);
    EXPECT_NE(evaluate({"--set", rate}).at("results").at(0).at("loss"), evaluate().at("results").at(0).at("loss"));
    if (std::string(mixer) == "s4") continue;
    EXPECT_NE(evaluate({"--set", twice}).at("results").at(0).at("loss"), finer.at("loss"));
  }
  train_mixer("s4");
  EXPECT_EQ(run({"eval", "run", "--set", twice}), 2);
  expect_output({"must reach over the longest sequence, 32 positions", "s4 up to its period"});
  train_mixer("s4d", "learned");
  EXPECT_EQ(run({"eval", "run", "--set", twice}), 2);
  expect_output({"positions: f32 of shape (32, 16) is required", "none of them with learned positions"});
  train_mixer("long_conv");
  EXPECT_EQ(run({"eval", "run", "--set", twice}), 2);
  expect_output({"taps", "s4d, h3 and attention read sequences of other lengths"});
  EXPECT_EQ(run({"eval", "run", "--set", rate}), 2);
  expect_output({"model.mixer.ssm: unknown key for kind 'long_conv'", "with other mixers leave it out"});
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
  // Names are no UTF-8 on every machine.
  std::filesystem::rename(folder_ / "moved", folder_ / "a\xff\x1b");
  expect_same(evaluate({"--data", "a\xff\x1b/valid-*.h5"}).at("results").at(0), last, {"loss"});
  EXPECT_EQ(run({"eval", "run", "--data", "a\xff\x1b/valid-*.h5", "--stride", "8"}), 0) << output();
  EXPECT_NE(printed().find("on a\\xff\\x1b/valid"), std::string::npos) << printed();
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
      {{"eval", "run", "--set", "model.width=31"}, {"model.width=31", "only keys of eval, data, task and precision"}},
      {{"eval", "run", "--set", "eval.bacth=8"}, {"bacth", "batch"}},
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
  EXPECT_NE(output().find("--stride: at most the 32 tokens"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--window", "16", "--stride", "17"}), 2);
  EXPECT_NE(output().find("--stride: at most the 16 tokens"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--window", "16", "--stride", "16"}), 0) << output();  // control
  EXPECT_EQ(run({"eval", "run", "--set", "data.length=16"}), 2);
  EXPECT_NE(output().find("use --window 16"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--data", "none-*.h5"}), 2);
  EXPECT_NE(output().find("or name others with --data"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--window", "33"}), 2);
  EXPECT_NE(output().find("--window: at most the 32 tokens"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--split", "test"}), 2);
  EXPECT_NE(output().find("no data.test"), std::string::npos) << output();
  EXPECT_EQ(run({"eval", "run", "--split", "valid", "--data", "shards/valid-*.h5"}), 2);
  EXPECT_NE(output().find("leave one out"), std::string::npos) << output();
}

TEST_F(Eval, RefusesWeightsThatAreOfNoUse) {
  train_recipe("tests/mqar.yaml", {"train.steps=1", "eval.test_examples=0", "optim.lr=1", "optim.weight_decay=1e38"});
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"eval", "run", "--examples", "9"},
                                                    {"eval", "run", "--examples", "9", "--json"},
                                                    {"generate", "run", "--prompt", "1 2 3"}}) {
    EXPECT_EQ(run(arguments), 2) << output();
    EXPECT_EQ(printed(), "");
    expect_output({"run/checkpoints/step_00000001.h5", "not finite", "take another checkpoint"});
  }
}

}  // namespace
}  // namespace mara::cli
