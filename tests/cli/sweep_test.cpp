#include <chrono>
#include <csignal>
#include <thread>

#include "cli/program.h"

namespace mara::train {
namespace {

using cli::Program;

const std::string kHyena = std::string(MARA_SOURCE_DIR) + "/recipes/tests/hyena.yaml";

class SweepProgram : public Program {
 protected:
  std::string file(const std::string& name) const { return read_file(folder_ / name); }
  /// Losses and accuracies of a run; what takes time differs.
  std::vector<std::string> course(const std::string& run) const {
    std::vector<std::string> out;
    for (const std::string& line : lines_of(folder_ / (run + "/metrics.jsonl"))) {
      out.push_back(line.substr(0, line.find("\"tokens_per_second\"")));
    }
    return out;
  }
};

TEST_F(SweepProgram, TrainsAGrid) {
  const std::vector<std::string> small = {
      "train", kHyena, "--sweep", "model.width=8,16", "--set", "train.steps=6", "--threads", "1", "--out", "grid"};
  std::vector<std::string> command = small;
  command.insert(command.end(), {"--sweep", "run.seed=1,2"});
  EXPECT_EQ(run(command), 0) << output();
  expect_output({"sweep of 4 runs in grid, 0 finished before", "[4/4] width=16,seed=2: accuracy", "6 steps",
                 "results: grid/results.tsv"});
  EXPECT_EQ(lines_of(folder_ / "grid/results.tsv").size(), 5u);
  // Each is the run it is alone.
  EXPECT_EQ(run({"train", kHyena, "--set", "model.width=16", "--set", "run.seed=2", "--set", "train.steps=6", "--out",
                 "alone"}),
            0);
  EXPECT_EQ(course("grid/width=16,seed=2"), course("alone"));
  EXPECT_EQ(file("grid/width=16,seed=2/recipe.yaml"), file("alone/recipe.yaml"));

  // Again: nothing is trained; longer: only what is new; several at once.
  const std::string log = file("grid/width=16,seed=2/log.txt"), results = file("grid/results.tsv");
  EXPECT_EQ(run(command), 0);
  expect_output({"4 finished before"});
  EXPECT_EQ(file("grid/results.tsv"), results);
  command.back() = "run.seed=1,2,3";
  command.insert(command.end(), {"--jobs", "2"});
  EXPECT_EQ(run(command), 0);
  expect_output({"sweep of 6 runs", "4 finished before, 2 at once", "[6/6]"});
  EXPECT_EQ(file("grid/width=16,seed=2/log.txt"), log);

  // Another recipe is no part of it.
  command.insert(command.end(), {"--set", "optim.lr=0.5"});
  EXPECT_EQ(run(command), 2);
  expect_output({"error: grid/width=8,seed=1: holds a run of another recipe", "optim.lr: 0.005 there, 0.5 now"});

  EXPECT_EQ(run({"report", "grid"}), 0);
  EXPECT_NE(file("grid/report.html").find("Test accuracy against model.width"), std::string::npos);
  EXPECT_EQ(run({"report", "grid", "--text", "--x", "run.seed"}), 0);
  expect_output({"Test accuracy\nrun.seed", "width 16", "width=16,seed=3"});
  EXPECT_EQ(run({"report", "grid", "--text", "--x", "model.depth"}), 2);
  expect_output({"error: --x model.depth: a number"});
}

TEST_F(SweepProgram, StopsAndGoesOn) {
  const std::vector<std::string> command = {
      "train", kHyena,           "--sweep", "run.seed=1,2,3", "--set",     "train.steps=2000",
      "--set", "eval.every=500", "--out",   "grid",           "--threads", "1"};
  const pid_t pid = start(command);
  while (lines_of(folder_ / "grid/seed=2/metrics.jsonl").size() < 50) {
    ASSERT_EQ(waitpid(pid, nullptr, WNOHANG), 0) << output();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  kill(pid, SIGINT);
  EXPECT_EQ(wait_for(pid), 128 + SIGINT);
  expect_output({"[1/3] seed=1: accuracy", "[2/3] seed=2: stopped", "seed=3  not started", "the same command goes on"});
  EXPECT_FALSE(exists("grid/seed=2/outcome.json"));
  EXPECT_TRUE(exists("grid/seed=2/checkpoints"));
  EXPECT_FALSE(exists("grid/seed=3/metrics.jsonl"));

  EXPECT_EQ(run(command), 0) << output();
  expect_output({"1 finished before", "[3/3] seed=3"});
  EXPECT_NE(file("grid/seed=2/log.txt").find("resuming after step"), std::string::npos);
  EXPECT_EQ(run({"train", kHyena, "--set", "run.seed=2", "--set", "train.steps=2000", "--set", "eval.every=500",
                 "--out", "alone"}),
            0);
  EXPECT_EQ(course("grid/seed=2"), course("alone"));
}

TEST_F(SweepProgram, OneFailureIsNotTheOthers) {
  EXPECT_EQ(run({"train", kHyena, "--sweep", "optim.lr=1.0e+6,1.0e-3; model.init_std=100.0,0.02; schedule.warmup=0,10",
                 "--set", "train.max_skipped=3", "--set", "train.steps=30", "--out", "grid"}),
            1);
  expect_output({"lr=1.0e+6,init_std=100.0,warmup=0: failed: training: loss or gradient was not finite",
                 "[2/2] lr=1.0e-3,init_std=0.02,warmup=10: accuracy"});
  EXPECT_NE(file("grid/results.tsv").find("\tfailed\t\t\t\t\t\ttraining: loss"), std::string::npos);
}

TEST_F(SweepProgram, WrongUseLeavesNothingBehind) {
  const struct {
    std::vector<std::string> arguments, says;
  } cases[] = {
      {{"--sweep", "model.width"}, {"--sweep model.width: key=value,value,... is required"}},
      {{"--sweep", "run.seed=1,x"}, {"an integer is required", "in the run seed=x of "}},
      {{"--sweep", "run.seed=1", "--resume"}, {"goes on with the runs in its folder by itself", "--resume"}},
      {{"--sweep", "run.seed=1", "--force"}, {"--force"}},
      {{"--sweep", "run.seed=1", "--jobs", "0"}, {"--jobs"}},
      {{"--sweep", "run.seed=1", "--device", "tpu"}, {"tpu"}},
      {{kHyena}, {"need a folder", "--out"}},
      {{"--jobs", "2"}, {"there is one run"}},
  };
  for (const auto& c : cases) {
    std::vector<std::string> command = {"train", kHyena};
    command.insert(command.end(), c.arguments.begin(), c.arguments.end());
    EXPECT_EQ(run(command), 2) << output();
    expect_output(c.says);
    EXPECT_FALSE(exists("runs")) << output();
  }
}

}  // namespace
}  // namespace mara::train
