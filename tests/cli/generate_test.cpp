// mara generate, as a user runs it.

#include "cli/program.h"
#include "core/format.h"

namespace mara::cli {
namespace {

const std::string kRecipes = std::string(MARA_SOURCE_DIR) + "/recipes/";

class Generate : public Program {
 protected:
  void train_text() {
    std::ofstream(folder_ / "text.txt") << std::string(400, 'a') + std::string(400, 'b');
    EXPECT_EQ(run({"data", "tokenize", "text.txt", "--valid-tail", "0.2", "--out", "shards"}), 0) << output();
    std::vector<std::string> train = {"train", kRecipes + "text/hyena_bytes.yaml", "--out", "run"};
    for (const char* set : {"data.length=32", "model.width=16", "model.blocks=1", "train.steps=3", "train.batch=2",
                            "eval.examples=2", "eval.test_examples=0"}) {
      train.insert(train.end(), {"--set", set});
    }
    EXPECT_EQ(run(train), 0) << output();
  }
  /// A run on a synthetic task that needs no data.
  void train_task(const std::string& recipe, const std::string& set = "train.batch=16") {
    EXPECT_EQ(run({"train", kRecipes + "tests/" + recipe + ".yaml", "--out", "run", "--set", "train.steps=2", "--set",
                   "eval.test_examples=0", "--set", set}),
              0)
        << output();
  }
};

TEST_F(Generate, ContinuesText) {
  train_text();
  ASSERT_EQ(run({"generate", "run", "--prompt", "abab", "--max-tokens", "20", "--seed", "3"}), 0) << output();
  const std::string text = printed();
  EXPECT_EQ(text.substr(0, 4), "abab");
  EXPECT_LE(text.size(), 4 + 20 + 1u);
  EXPECT_NE(output().find("step 3"), std::string::npos);  // on stderr
  EXPECT_EQ(text.find("tokens/s"), std::string::npos);    // nothing but text on stdout
  std::ofstream(folder_ / "prompt.txt") << "abab";
  const std::string file = (folder_ / "run/checkpoints/step_00000003.h5").string();
  ASSERT_EQ(
      run({"generate", file, "--prompt-file", "prompt.txt", "--max-tokens", "20", "--seed", "3", "--threads", "1"}), 0);
  EXPECT_EQ(printed(), text);
  ASSERT_EQ(run({"generate", "run", "--prompt", "abab", "--max-tokens", "20", "--seed", "4"}), 0);
  EXPECT_NE(printed(), text);
  ASSERT_EQ(run({"generate", "run", "--prompt", "abab", "--prompt", "b", "--max-tokens", "20", "--seed", "3"}), 0);
  EXPECT_NE(printed().find("--- prompt 1\n" + text), std::string::npos) << printed();
  EXPECT_NE(printed().find("--- prompt 2\nb"), std::string::npos) << printed();
}

TEST_F(Generate, DoesNotCommandATerminal) {
  train_text();
  const std::string prompt =
      "a\x1b[2J\xC2\x9B"
      "2J\xFF\n\xC3\xA9";
  const std::vector<std::string> arguments = {"generate", "run",           "--prompt", prompt,   "--max-tokens",
                                              "15",       "--temperature", "1e9",      "--seed", "5"};
  ASSERT_EQ(run(arguments), 0);  // control: a file gets everything
  EXPECT_EQ(printed().rfind(prompt, 0), 0u);
  const std::string drawn = printed().substr(prompt.size());
  EXPECT_NE(printable(drawn, "\n\t"), drawn);
  const std::optional<std::string> shown = run_on_terminal(arguments);
  if (!shown) GTEST_SKIP() << "there are no terminals here";
  EXPECT_EQ(shown->rfind("a\\x1b[2J\\xc2\\x9b2J\\xff\r\n\xC3\xA9", 0), 0u) << *shown;
  for (const char c : *shown) EXPECT_TRUE(static_cast<unsigned char>(c) >= ' ' || c == '\r' || c == '\n' || c == '\t');
}

TEST_F(Generate, ContinuesTheTokensOfATask) {
  train_task("induction");
  ASSERT_EQ(run({"generate", "run", "--prompt", " 1 2  3 ", "--temperature", "0", "--max-tokens", "2"}), 0) << output();
  const std::string line = printed();
  EXPECT_EQ(line.substr(0, 6), "1 2 3 ");
  EXPECT_EQ(std::count(line.begin(), line.end(), ' '), 4);
  for (const char* prompt : {"1 b", "1 2 10", "-1", "99999999999", "1,2", "   "}) {
    EXPECT_EQ(run({"generate", "run", "--prompt", prompt}), 2) << prompt;
    EXPECT_EQ(printed(), "");
  }
}

TEST_F(Generate, WrongUseIsTwoAndPrintsNothing) {
  train_text();
  std::ofstream(folder_ / "empty.txt");
  std::ofstream(folder_ / "long.txt") << std::string(33, 'a');
  std::ofstream(folder_ / "huge.txt") << std::string((1 << 20) + 1, 'a');
  const struct {
    std::vector<std::string> arguments, says;
  } cases[] = {
      {{}, {"checkpoint is required"}},
      {{"run"}, {"--prompt"}},
      {{"absent", "--prompt", "a"}, {"absent", "no such file"}},
      {{"a\x1b[2J", "--prompt", "a"}, {"a\\x1b[2J", "no such file"}},
      {{"text.txt", "--prompt", "a"}, {"text.txt", "checkpoint"}},
      {{"shards", "--prompt", "a"}, {"shards", "no valid checkpoint"}},
      {{"run", "--prompt", "a", "--prompt", ""}, {"--prompt number 2", "empty"}},
      {{"run", "--prompt", "a", "--prompt-file", "empty.txt"}, {"empty.txt: is empty"}},
      {{"run", "--prompt-file", "absent.txt"}, {"absent.txt", "cannot be read"}},
      {{"run", "--prompt-file", "shards"}, {"shards", "cannot be read"}},
      {{"run", "--prompt-file", "long.txt"}, {"long.txt", "33 tokens", "reads at most 32"}},
      {{"run", "--prompt-file", "huge.txt"}, {"huge.txt", "at most"}},
      {{"run", "--prompt", "a", "--max-tokens", "33"}, {"at most 32 new tokens", "got 33"}},
      {{"run", "--prompt", "a", "--max-tokens", "0"}, {"--max-tokens"}},
      {{"run", "--prompt", "a", "--top-p", "0"}, {"--top-p", "got 0"}},
      {{"run", "--prompt", "a", "--top-k", "-1"}, {"--top-k", "got -1"}},
      {{"run", "--prompt", "a", "--temperature", "-0.5"}, {"--temperature", "got -0.5"}},
      {{"run", "--prompt", "a", "--seed", "-1"}, {"--seed", "got '-1'"}},
      {{"run", "--prompt", "a", "--seed", "18446744073709551616"}, {"--seed", "18446744073709551615 is required"}},
      {{"run", "--prompt", "a", "--seed", "1e3"}, {"--seed"}},
      {{"run", "--prompt", "a", "--device", "tpu"}, {"tpu"}},
  };
  for (const auto& c : cases) {
    std::vector<std::string> words = {"generate"};
    words.insert(words.end(), c.arguments.begin(), c.arguments.end());
    EXPECT_EQ(run(words), 2) << output();
    expect_output(c.says);
    expect_output({"error: "});
    EXPECT_EQ(printed(), "");
  }
  // Controls: what just fits.
  EXPECT_EQ(run({"generate", "run", "--prompt", "a", "--max-tokens", "32"}), 0) << output();
  EXPECT_EQ(run({"generate", "run", "--prompt", "a", "--seed", "18446744073709551615"}), 0) << output();
}

TEST_F(Generate, NeedsACausalModel) {
  train_task("hyena", "model.causal=false");
  EXPECT_EQ(run({"generate", "run", "--prompt", "1 2"}), 2);
  expect_output({"hyena: generating needs a causal model", "in block 0: hyena"});
  EXPECT_EQ(output().rfind("error: ", 0), 0u) << output();  // nothing before it
}

// Models that write no tokens: each command says so, or does what it can.
TEST_F(Generate, OtherKindsOfModelsAreRefused) {
  train_task("listops");
  EXPECT_EQ(run({"generate", "run", "--prompt", "13 4 5"}), 2);
  expect_output({"run/checkpoints/step_00000002.h5", "cannot go on token by token"});
  std::ofstream(folder_ / "tokens.txt") << "13 4 5\n";
  EXPECT_EQ(run({"logits", "run", "--tokens", "tokens.txt", "--to", "logits.safetensors"}), 2);
  expect_output({"does not predict a token at every position; use a language_model"});
  EXPECT_EQ(run({"export", "run", "--to", "weights.safetensors"}), 0) << output();
  EXPECT_EQ(run({"export", "run", "--to", "weights.h5", "--names", "safari"}), 2);
  expect_output({"--names safari: its layout is one of language models, this is a model of another kind"});
}

TEST_F(Generate, ModelsOfRealNumbersAreRefused) {
  train_task("pixels");
  EXPECT_EQ(run({"generate", "run", "--prompt", "1 2"}), 2);
  expect_output({"step_00000002.h5: generating: this model reads real numbers, not tokens, and writes none"});
}

}  // namespace
}  // namespace mara::cli
