#include "cli/program.h"

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

namespace mara::train {
namespace {

using cli::Program;

const std::string kHyena = std::string(MARA_SOURCE_DIR) + "/recipes/tests/hyena.yaml";

TEST_F(Program, Trains) {
  EXPECT_EQ(run({"train", kHyena, "--threads", "1", "--set", "train.steps=4", "--set", "run.name=four"}), 0);
  expect_output({"training four", "parameters on cpu, 1 threads", "test accuracy", "64 held-out examples",
                 "run folder: runs/four"});
  EXPECT_EQ(lines_of(folder_ / "runs/four/metrics.jsonl").size(), 4u + 1 + 1);
  EXPECT_EQ(Recipe::load((folder_ / "runs/four/recipe.yaml").string()).train.steps, 4);
}

TEST_F(Program, ClaimsNoNewExamplesWhereSplitsShareTheirSecret) {
  const std::string recipe = std::string(MARA_SOURCE_DIR) + "/recipes/memorization/hyena.yaml";
  EXPECT_EQ(run({"train", recipe, "--set", "train.steps=1", "--set", "eval.test_examples=9"}), 0);
  expect_output({" on 9 more examples (loss "});
}

TEST_F(Program, KeepsAnExistingRun) {
  const std::vector<std::string> train = {"train", kHyena, "--out", "run", "--set", "train.steps=2"};
  EXPECT_EQ(run(train), 0);
  const std::string metrics = read_file(folder_ / "run/metrics.jsonl");
  EXPECT_EQ(run(train), 2);
  expect_output({"error: run folder: run exists", "--force"});
  EXPECT_EQ(read_file(folder_ / "run/metrics.jsonl"), metrics);
  std::vector<std::string> forced = train;
  forced.push_back("--force");
  EXPECT_EQ(run(forced), 0);
  EXPECT_EQ(read_file(folder_ / "run.old-1/metrics.jsonl"), metrics);
}

TEST_F(Program, Reports) {
  EXPECT_EQ(run({"train", kHyena, "--out", "run", "--set", "train.steps=3", "--set", "log.tensorboard=true"}), 0);
  std::string events;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "run")) {
    if (entry.path().filename().string().find(".tfevents.") != std::string::npos) events += read_file(entry.path());
  }
  for (const char* tag : {"grad_norm", "valid/accuracy", "test/loss"}) {
    EXPECT_NE(events.find(tag), std::string::npos) << tag;
  }
  EXPECT_EQ(run({"report", "run"}), 0);
  expect_output({"report: run/report.html"});
  const std::string html = read_file(folder_ / "run/report.html");
  EXPECT_NE(html.find("embedding"), std::string::npos);  // the table of parameters, made from the recipe
  EXPECT_EQ(run({"report", "run"}), 2);
  expect_output({"error: run/report.html: exists", "--force", "--out"});
  EXPECT_EQ(run({"report", "run", "run", "--out", "two.html"}), 0);
  EXPECT_TRUE(exists("two.html"));
  EXPECT_EQ(run({"report", "run", "--force"}), 0);

  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"report"},
                                                {"report", "absent"},
                                                {"report", "run/checkpoints"},
                                                {"report", "run", "absent", "--force"},
                                                {"report", "run/recipe.yaml"},
                                                {"report", "run", "--out", "none/a.html"},
                                                {"report", "run", "--out", "run", "--force"}}) {
    EXPECT_EQ(run(wrong), 2) << wrong.back();
    expect_output({"error: "});
  }
  EXPECT_EQ(read_file(folder_ / "run/report.html"), html);
  EXPECT_FALSE(exists("report.html"));
}

TEST_F(Program, WrongUseIsTwoAndLeavesNothingBehind) {
  std::ofstream(folder_ / "wrong.yaml")
      << "run: {name: wrong}\ntask: {kind: mqar}\nmodel: {kind: language_model, widht: 3}\ntrain: {steps: 1}\n";
  const struct {
    std::vector<std::string> arguments, says;
  } cases[] = {
      {{}, {"a command is required", "mara --help"}},
      {{"trian"}, {"trian"}},
      {{"train"}, {"recipe is required"}},
      {{"train", kHyena, "--stpes", "3"}, {"--stpes"}},
      {{"train", kHyena, "--threads", "0"}, {"--threads"}},
      {{"train", kHyena, "--threads", "many"}, {"many"}},
      {{"train", "absent.yaml"}, {"absent.yaml", "No such file"}},
      {{"train", "."}, {"this is a folder"}},
      {{"train", "wrong.yaml"}, {"wrong.yaml:3: model.widht", "did you mean 'width'"}},
      {{"train", kHyena, "--set", "model.width=wide"}, {"--set model.width=wide", "integer"}},
      {{"train", kHyena, "--set", "model.depth=3"}, {"model.depth"}},
      {{"train", kHyena, "--set", "train.steps"}, {"key=value"}},
      {{"train", kHyena, "--set", "train.batch=-1"}, {"train.batch", "must be from 1 to"}},
      {{"train", kHyena, "--set", "run.name=a/b"}, {"plain folder name"}},
      {{"train", kHyena, "--device", "tpu"}, {"tpu"}},
      {{"train", kHyena, "--out", "wrong.yaml/run"}, {"wrong.yaml/run"}},
      {{"describe"}, {"a recipe is required", "--options"}},
      {{"describe", "absent.yaml"}, {"absent.yaml"}},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(run(c.arguments), 2) << output();
    expect_output(c.says);
    expect_output({"error: "});
    EXPECT_FALSE(exists("runs")) << output();
  }
}

TEST_F(Program, AskedForADeviceItDoesNotHave) {
  setenv("CUDA_VISIBLE_DEVICES", "-1", 1);  // also where there is one
  for (const std::string command : {"train", "check"}) {
    EXPECT_EQ(run({command, kHyena, "--device", "cuda"}), 2);
    const std::string said = output();
    EXPECT_TRUE(said.starts_with("error: device cuda:0: ")) << said;
    EXPECT_NE(said.find("--device cpu"), std::string::npos) << said;
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  }
  unsetenv("CUDA_VISIBLE_DEVICES");
  EXPECT_FALSE(exists("runs"));
}

TEST_F(Program, FailingOnTheWayIsOne) {
  // Initial weights and learning rate are so large that products overflow; every later step is skipped.
  EXPECT_EQ(run({"train", kHyena, "--out", "run", "--set", "optim.lr=1.0e+6", "--set", "model.init_std=100.0", "--set",
                 "schedule.warmup=0", "--set", "train.max_skipped=3", "--set", "train.steps=30"}),
            1);
  expect_output({"error: training: loss or gradient was not finite, or nothing was scored, in 3 steps in a row"});
}

TEST_F(Program, Describes) {
  EXPECT_EQ(run({"describe", kHyena, "--set", "model.blocks=3"}), 0);
  expect_output({"blocks.*.mixer.in_proj.weight", "x 3", "Resolved recipe", "blocks: 3"});
  EXPECT_EQ(run({"describe", "--options"}), 0);
  expect_output({"run.name: text, required", "train.steps"});
}

TEST_F(Program, HelpAndVersion) {
  EXPECT_EQ(run({"--version"}), 0);
  expect_output({"mara 0."});
  EXPECT_EQ(run({"--help"}), 0);
  expect_output({"train", "describe", "Exit codes"});
  EXPECT_EQ(run({"train", "--help"}), 0);
  expect_output({"--set", "--sweep", "--jobs", "--out", "--device", "--threads", "--force"});
  EXPECT_EQ(run({"describe", "--help"}), 0);
  expect_output({"--set", "--options"});
}

TEST_F(Program, KilledRunsLeaveWholeLines) {
  for (const int signal : {SIGINT, SIGKILL}) {
    const std::string run = "run" + std::to_string(signal);
    const std::filesystem::path metrics = folder_ / (run + "/metrics.jsonl");
    const pid_t pid = start(
        {"train", kHyena, "--out", run, "--threads", "1", "--set", "train.steps=1000000", "--set", "eval.every=10"});
    while (lines_of(metrics).size() < 25) {
      ASSERT_EQ(waitpid(pid, nullptr, WNOHANG), 0) << output();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    kill(pid, signal);
    const int code = wait_for(pid);
    EXPECT_TRUE(code == -signal || code == 128 + signal) << code;
    const std::string text = read_file(metrics);
    EXPECT_EQ(text.back(), '\n');
    int64_t step = 0;
    for (const std::string& line : lines_of(metrics)) {
      const nlohmann::json object = nlohmann::json::parse(line);
      if (object.contains("split")) continue;
      EXPECT_EQ(object["step"].get<int64_t>(), ++step);
    }
    EXPECT_GE(step, 20);
    EXPECT_NO_THROW(Recipe::load((folder_ / (run + "/recipe.yaml")).string()));
  }
}

}  // namespace
}  // namespace mara::train
