// Training on token shards.

#include <cmath>

#include "data/tokenize.h"
#include "train/recipes.h"

namespace mara::train {
namespace {

class TextTraining : public testing::Test {
 protected:
  TextTraining() {
    std::ofstream file(folder_ / "text");
    for (int i = 0; i < 300; ++i) file << "line " << i % 10 << " of a text\n";
    file.close();
    data::tokenize({.files = {folder_ / "text"}, .out = folder_ / "shards", .valid_tail = 0.2});
  }
  Recipe recipe(const std::vector<std::string>& overrides = {}) const {
    const std::string shards = (folder_ / "shards").string();
    config::Document document = config::Document::parse(
        "run: {name: text}\ndata: {train: " + shards + "/train-*.h5, valid: [" + shards +
            "/valid-*.h5], length: 32}\n" +
            "model: {kind: language_model, width: 16, blocks: 1, mixer: {kind: attention}, mlp: {kind: gelu, ratio: "
            "2}}\n" +
            "optim: {kind: adamw, lr: 1.0e-2}\ntrain: {steps: 40, batch: 8}\neval: {every: 20, examples: 16}\n",
        "text.yaml");
    for (const std::string& assignment : overrides) document.set(assignment);
    Recipe out;
    document.read(out);
    return out;
  }
  std::string error(const std::vector<std::string>& overrides) const {
    try {
      Trainer(recipe(overrides), kCpu);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
};

TEST_F(TextTraining, LearnsAndCountsBits) {
  const Recipe r = recipe();
  EXPECT_EQ(r.model_setup().vocabulary, 257);
  RunFolder run(folder_ / "run", config::to_yaml(r), false);
  const Outcome outcome = Trainer(r, kCpu).run(run);
  ASSERT_TRUE(outcome.test);
  ASSERT_TRUE(outcome.test->bits_per_byte);
  EXPECT_LT(*outcome.test->bits_per_byte, 5);  // 8 for a model that knows nothing
  EXPECT_GT(outcome.test->examples, 16) << "the last evaluation reads all of the held-out text";
  const std::vector<std::string> lines = lines_of(folder_ / "run/metrics.jsonl");
  EXPECT_NE(lines.back().find("\"split\":\"valid\""), std::string::npos) << lines.back();
  EXPECT_NE(lines.back().find("\"bits_per_byte\":"), std::string::npos) << lines.back();
  const std::string samples = read_file(folder_ / "run/samples.txt");
  EXPECT_TRUE(samples.starts_with("--- 1, held-out text: ")) << samples;
  EXPECT_NE(samples.find("\n--- goes on: "), std::string::npos) << samples;
  EXPECT_NE(samples.find("of a text\n"), std::string::npos) << samples;
}

TEST_F(TextTraining, PrintedFormReadsBack) {
  const std::string printed = config::to_yaml(recipe());
  EXPECT_EQ(config::to_yaml(parse_recipe(printed)), printed);
  EXPECT_EQ(printed.find("task:"), std::string::npos);
}

TEST_F(TextTraining, BatchesAreAFunctionOfTheStep) {
  const Recipe r = recipe();
  const auto ids = [](BatchSource& source, int64_t step) {
    const std::span<const int32_t> rows = source.batch(step).ids;
    return std::vector<int32_t>(rows.begin(), rows.end());
  };
  const std::unique_ptr<BatchSource> a = make_batch_source(r), b = make_batch_source(r);
  std::vector<std::vector<int32_t>> in_order;
  for (int64_t step = 0; step < 5; ++step) in_order.push_back(ids(*a, step));
  for (const int64_t step : {3, 4, 0, 2}) EXPECT_EQ(ids(*b, step), in_order[static_cast<size_t>(step)]);
  EXPECT_NE(in_order[0], in_order[1]);
  EXPECT_EQ(a->data_hash(), b->data_hash());
  EXPECT_NE(a->data_hash(),
            make_batch_source(recipe({"data.train=" + (folder_ / "shards/valid-*").string()}))->data_hash());
}

TEST_F(TextTraining, StopsAtALoss) {
  const auto steps = [&](const std::string& loss) {
    const Recipe r = recipe({"train.stop_when={loss: " + loss + ", evaluations: 1}", "train.steps=60"});
    RunFolder run(folder_ / ("run" + loss), config::to_yaml(r), false);
    return Trainer(r, kCpu).run(run).steps;
  };
  EXPECT_EQ(steps("100"), 20);
  EXPECT_EQ(steps("0.001"), 60);
}

TEST_F(TextTraining, SaysWhatIsWrong) {
  const auto expect = [&](const std::string& override, const std::vector<std::string>& parts) {
    const std::string message = error({override});
    for (const std::string& part : parts)
      EXPECT_NE(message.find(part), std::string::npos) << part << "\n in: " << message;
  };
  expect("task.kind=mqar", {"data: a recipe has either task or data", "both"});
  for (const std::string list : {"train", "valid", "test"}) {
    expect("data." + list + "=[none/*.h5]",
           {"no file is named none/*.h5", "mara data tokenize", "--set data." + list + "=[...]"});
  }
  expect("data.train=[]", {"data.train: at least one path"});
  expect("data.weights=[1, 2]", {"data.weights: one weight for each entry of train is required, 1, got 2"});
  expect("data.weights=[0]", {"data.weights[0]: must be at least 1"});
  expect("data.tokenizer=byte", {"did you mean 'bytes'"});
  expect("data.length=100000", {"at least 200000 tokens", "data.length"});
  expect("data.length=2000", {"more than 2000 tokens", "valid-00000.h5"});
  EXPECT_THROW(
      parse_recipe("run: {name: x}\nmodel: {kind: language_model, mixer: {kind: attention}}\ntrain: {steps: 1}\n"),
      Error);
}

}  // namespace
}  // namespace mara::train
