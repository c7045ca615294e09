#include "train/resume.h"

#include <sys/wait.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_writer.h"
#include "core/thrown.h"
#include "train/child.h"
#include "train/recipes.h"

namespace mara::train {
namespace {

std::vector<double> weights(const Trainer& trainer) { return trainer.arena().master().to_host(); }

std::vector<double> losses(Trainer& trainer, int64_t first, int64_t end) {
  std::vector<double> out;
  for (int64_t step = first; step < end; ++step) out.push_back(trainer.step(step).loss);
  return out;
}

void save(Trainer& trainer, int64_t step, const Recipe& recipe, const std::filesystem::path& path) {
  const checkpoint::StateFunction state = [&](StateVisitor& v) { trainer.state(v); };
  checkpoint::Snapshot snapshot(state);
  snapshot.capture(state);
  snapshot.write(path, config::to_yaml(recipe), std::nullopt);
  EXPECT_EQ(checkpoint::Checkpoint(path).step(), step);
}

/// Metrics lines without what depends on the clock.
std::vector<std::string> timeless(const std::filesystem::path& metrics) {
  std::vector<std::string> out;
  for (const std::string& line : lines_of(metrics)) {
    nlohmann::json object = nlohmann::json::parse(line);
    object.erase("tokens_per_second");
    object.erase("memory");
    object.erase("seconds");
    out.push_back(object.dump());
  }
  return out;
}

class Resume : public testing::Test {
 protected:
  Outcome run(const Recipe& recipe, const std::string& name) {
    RunFolder run_folder(folder_ / name, config::to_yaml(recipe), false);
    return Trainer(recipe, kCpu).run(run_folder);
  }
  Outcome resume(const Recipe& recipe, const std::string& name, const std::string& which = "latest") {
    const ResumePoint point = find_resume_point(folder_ / name, which);
    Trainer trainer(recipe, kCpu);
    if (point.from) trainer.resume(*point.from);
    RunFolder run_folder(folder_ / name, config::to_yaml(recipe), point);
    return trainer.run(run_folder);
  }
  std::string file(const std::string& name, int64_t step) const {
    return read_file(folder_ / name / "checkpoints" / checkpoint::file_name(step));
  }
  size_t files(const std::string& name) const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_ / name), {}));
  }

  TemporaryFolder folder_;
};

TEST_F(Resume, EqualsTheUninterruptedRunBitForBit) {
  constexpr int64_t kSteps = 12;
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"hyena", {"model.residual_dropout=0.2", "model.embedding_dropout=0.1"}},
      {"hyena", {"precision.compute=f64"}},
      {"micro_batch", {}},
      {"bf16", {"model.residual_dropout=0.1"}},
      {"attention_rotary", {}},
      {"in_context_functions", {}},
      {"listops", {}}};
  for (const auto& [name, overrides] : cases) {
    const Recipe recipe = test_recipe(name, overrides);
    Trainer whole(recipe, kCpu);
    const std::vector<double> expected = losses(whole, 0, kSteps);
    for (const int64_t cut : {1, 5, 11}) {
      const std::filesystem::path path = folder_ / (name + std::to_string(cut));
      {
        Trainer first(recipe, kCpu);
        losses(first, 0, cut);
        save(first, cut, recipe, path);
      }
      Trainer second(recipe, kCpu);
      second.resume(checkpoint::Checkpoint(path));
      const std::vector<double> rest = losses(second, cut, kSteps);
      EXPECT_EQ(rest, std::vector<double>(expected.begin() + cut, expected.end())) << name << cut;
      EXPECT_EQ(weights(second), weights(whole)) << name << cut;

      Trainer forgetful(recipe, kCpu);  // control: the weights alone do not do
      checkpoint::Checkpoint(path).load_part(
          [&](StateVisitor& v) { const_cast<nn::ParameterArena&>(forgetful.arena()).state(v); });
      losses(forgetful, cut, kSteps);
      EXPECT_NE(weights(forgetful), weights(whole)) << name << cut;
    }
  }
}

TEST_F(Resume, GoesOnInTheRunFolder) {
  const Recipe recipe = test_recipe("hyena", {"train.steps=30", "checkpoint.every=10", "checkpoint.keep=9",
                                              "eval.every=10", "eval.examples=8", "eval.test_examples=8"});
  run(recipe, "whole");
  run(recipe, "cut");
  // As if killed between steps 10 and 20, while a line was being written.
  std::filesystem::remove(folder_ / "cut/checkpoints" / checkpoint::file_name(20));
  std::filesystem::remove(folder_ / "cut/checkpoints" / checkpoint::file_name(30));
  std::vector<std::string> all = lines_of(folder_ / "cut/metrics.jsonl");
  const size_t seconds = all[9].find("\"seconds\":");  // of step 10, which it goes on after
  all[9] = all[9].substr(0, seconds) + "\"seconds\":1000}";
  std::ofstream metrics(folder_ / "cut/metrics.jsonl", std::ios::trunc);
  for (size_t i = 0; i < 15; ++i) metrics << all[i] << "\n";
  metrics << all[15].substr(0, 20) << std::flush;
  const Outcome outcome = resume(recipe, "cut");
  EXPECT_EQ(outcome.steps, 30);
  EXPECT_GT(outcome.seconds, 1000);
  EXPECT_LT(outcome.seconds, 2000);
  EXPECT_EQ(timeless(folder_ / "cut/metrics.jsonl"), timeless(folder_ / "whole/metrics.jsonl"));
  EXPECT_EQ(file("cut", 30), file("whole", 30));
  EXPECT_EQ(lines_of(folder_ / "cut/metrics.1.jsonl").size(), 5u);  // 4 of steps 11 to 14, and the broken one
  EXPECT_EQ(read_file(folder_ / "cut/recipe.yaml"), config::to_yaml(recipe));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "cut/recipe.1.yaml"));

  // A finished run only repeats its last evaluation.
  EXPECT_GT(resume(recipe, "cut").seconds, outcome.seconds - 1);
  EXPECT_EQ(timeless(folder_ / "cut/metrics.jsonl"), timeless(folder_ / "whole/metrics.jsonl"));
  EXPECT_EQ(lines_of(folder_ / "cut/metrics.2.jsonl").size(), 1u);
}

TEST_F(Resume, FromAnEarlierCheckpointMovesLaterOnesAside) {
  const Recipe recipe = test_recipe("hyena", {"train.steps=30", "checkpoint.every=10", "checkpoint.keep=9"});
  run(recipe, "run");
  const std::string last = file("run", 30);
  resume(recipe, "run", (folder_ / "run/checkpoints" / checkpoint::file_name(10)).string());
  EXPECT_EQ(file("run", 30), last);
  EXPECT_EQ(read_file(folder_ / "run/checkpoints.1" / checkpoint::file_name(30)), last);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "run/metrics.1.jsonl"));
}

TEST_F(Resume, StartsWhereThereIsNoCheckpoint) {
  const Recipe recipe = test_recipe("hyena", {"train.steps=5", "checkpoint.every=0"});
  EXPECT_EQ(resume(recipe, "new").steps, 5);
  std::filesystem::remove_all(folder_ / "new/checkpoints");
  EXPECT_EQ(resume(recipe, "new").steps, 5);
  EXPECT_EQ(lines_of(folder_ / "new/metrics.jsonl").size(), 5u + 2);
  const auto damage = [&](const std::string& content) {
    std::ofstream(folder_ / "new/checkpoints" / checkpoint::file_name(5), std::ios::trunc) << content;
    return message_of<Error>([&] { resume(recipe, "new"); });
  };
  EXPECT_NE(damage("x").find("none of the checkpoints there is valid"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { resume(recipe, "new", "absent.h5"); }).find("absent.h5: cannot be read"),
            std::string::npos);
}

TEST_F(Resume, NeedsTheSameRun) {
  const auto complaint = [&](const std::vector<std::string>& before, const std::vector<std::string>& now) {
    std::vector<std::string> all = {"train.steps=20"};
    all.insert(all.end(), before.begin(), before.end());
    Recipe recipe = test_recipe("hyena", all);
    Trainer trainer(recipe, kCpu);
    losses(trainer, 0, 12);
    const std::filesystem::path path = folder_ / "a";
    save(trainer, 12, recipe, path);
    all.insert(all.end(), now.begin(), now.end());
    const Recipe changed = test_recipe("hyena", all);
    return message_of<Error>([&] { check_same_run(changed, checkpoint::Checkpoint(path)); });
  };
  const std::string fine = "nothing was thrown", constant = "schedule.kind=constant", wsd = "schedule.kind=wsd";
  EXPECT_EQ(complaint({}, {}), fine);
  EXPECT_EQ(complaint({}, {"run.name=other", "eval.every=7", "eval.examples=9", "checkpoint.every=3",
                           "train.max_skipped=4", "train.stop_when.accuracy=0.5"}),
            fine);
  EXPECT_EQ(complaint({"train.stop_when.accuracy=0.5"}, {"train.stop_when.accuracy=0.6"}), fine);
  const std::string text = complaint({}, {"run.seed=2", "optim.lr=0.1", "task.vocab=12", "model.mixer.order=3"});
  for (const char* key : {"\n  run.seed: 1 in the checkpoint, 2 in the recipe", "\n  optim.lr: ", "\n  task.vocab: ",
                          "\n  model.mixer.order: 2 in the checkpoint, 3 in the recipe"}) {
    EXPECT_NE(text.find(key), std::string::npos) << text;
  }
  // More steps, as long as the learning rates so far are the same.
  EXPECT_EQ(complaint({constant}, {"train.steps=40"}), fine);
  EXPECT_EQ(complaint({wsd}, {"train.steps=40"}), fine);
  EXPECT_NE(complaint({wsd}, {"train.steps=13"}).find("train.steps: 20"), std::string::npos);
  EXPECT_NE(complaint({}, {"train.steps=40"}).find("train.steps: 20 in the checkpoint, 40"), std::string::npos);
  EXPECT_NE(complaint({constant}, {"train.steps=11"}).find("ends before it at 11"), std::string::npos);
}

TEST_F(Resume, MoreStepsContinueTheRun) {
  const std::vector<std::string> common = {"schedule.kind=constant", "eval.every=10", "eval.test_examples=0"};
  const auto recipe = [&](const std::string& steps) {
    std::vector<std::string> all = common;
    all.push_back("train.steps=" + steps);
    return test_recipe("hyena", all);
  };
  run(recipe("20"), "whole");
  run(recipe("10"), "longer");
  resume(recipe("20"), "longer");
  EXPECT_EQ(timeless(folder_ / "longer/metrics.jsonl"), timeless(folder_ / "whole/metrics.jsonl"));
  EXPECT_EQ(file("longer", 20), file("whole", 20));
  EXPECT_EQ(Recipe::load((folder_ / "longer/recipe.1.yaml").string()).train.steps, 10);
  EXPECT_EQ(Recipe::load((folder_ / "longer/recipe.yaml").string()).train.steps, 20);
}

TEST_F(Resume, KeepsTheBest) {
  const Recipe recipe = test_recipe(
      "hyena", {"train.steps=30", "checkpoint.every=5", "checkpoint.keep=1", "checkpoint.best=loss", "eval.every=5"});
  run(recipe, "run");
  const std::vector<checkpoint::Found> found = checkpoint::find_all(folder_ / "run/checkpoints");
  ASSERT_FALSE(found.empty());
  EXPECT_LE(found.size(), 2u);  // the newest, and the best if that is another
  EXPECT_EQ(found.back().step, 30);
  EXPECT_EQ(found.back().score->name, "loss");
  const std::vector<std::string> metrics = lines_of(folder_ / "run/metrics.jsonl");
  const nlohmann::json last = nlohmann::json::parse(metrics.at(metrics.size() - 2));
  EXPECT_EQ(found.back().score->value, -last["loss"].get<double>());
  EXPECT_THROW(test_recipe("hyena", {"checkpoint.best=loss", "checkpoint.every=7", "eval.every=5"}), Error);
}

TEST_F(Resume, TiedWeightsAreStoredOnce) {
  const auto checkpoint_of = [&](const std::string& tie) {
    const Recipe recipe = test_recipe("hyena", {"train.steps=1", "model.tie_head=" + tie});
    run(recipe, tie);
    return checkpoint::Checkpoint(folder_ / tie / "checkpoints" / checkpoint::file_name(1));
  };
  const checkpoint::Checkpoint tied = checkpoint_of("true"), free = checkpoint_of("false");
  EXPECT_EQ(tied.file().text("tied"), "head=embedding.table");
  EXPECT_EQ(free.file().text("tied"), "");
  EXPECT_EQ(tied.file().find("head"), nullptr);
  EXPECT_NE(free.file().find("head"), nullptr);
  for (const char* name : {"embedding.table", "optimizer.m.embedding.table", "optimizer.v.embedding.table"}) {
    EXPECT_NE(tied.file().find(name), nullptr) << name;
  }
}

TEST_F(Resume, OneProcessAtATime) {
  const Recipe recipe = test_recipe("hyena", {"train.steps=2"});
  const RunFolder held(folder_ / "run", config::to_yaml(recipe), false);
  EXPECT_NE(message_of<Error>([&] { resume(recipe, "run"); }).find("another process is working in it"),
            std::string::npos);
  EXPECT_THROW(run(recipe, "run"), Error);
  EXPECT_THROW(RunFolder(folder_ / "run", "", true), Error);
}

// Of the program: signals save the state and say so in the exit code.
TEST_F(Resume, SignalsSaveTheState) {
  const std::vector<std::string> common = {"train.steps=400", "checkpoint.every=0", "eval.every=1000"};
  std::vector<std::string> arguments = {"train", std::string(MARA_SOURCE_DIR) + "/recipes/tests/hyena.yaml"};
  for (const std::string& assignment : common) arguments.insert(arguments.end(), {"--set", assignment});
  run(test_recipe("hyena", common), "whole");
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string name = "run" + std::to_string(signal);
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--resume", "latest", "--out", (folder_ / name).string()});
    Child child(all, folder_ / "output.txt");
    child.wait_until([&] { return lines_of(folder_ / name / "metrics.jsonl").size() >= 3; });
    child.signal(signal);
    EXPECT_EQ(child.wait(), 128 + signal) << read_file(folder_ / "output.txt");
    EXPECT_NE(read_file(folder_ / "output.txt").find("interrupted, the state is saved"), std::string::npos);
    const std::vector<checkpoint::Found> found = checkpoint::find_all(folder_ / name / "checkpoints");
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(static_cast<size_t>(found[0].step), lines_of(folder_ / name / "metrics.jsonl").size());
    EXPECT_EQ(Child(all, folder_ / "output.txt").wait(), 0);
    EXPECT_EQ(file(name, 400), file("whole", 400));
  }
}

TEST_F(Resume, ASecondInterruptStopsAtOnce) {
  // One step of this takes minutes.
  Child child({"train", std::string(MARA_SOURCE_DIR) + "/recipes/tests/hyena.yaml", "--set", "train.batch=400000",
               "--out", (folder_ / "run").string(), "--set", "train.micro_batch=16", "--set", "task.examples=400000"},
              folder_ / "output.txt");
  const auto said = [&](const char* text) { return read_file(folder_ / "output.txt").find(text) != std::string::npos; };
  child.wait_until([&] { return std::filesystem::exists(folder_ / "run/checkpoints"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  child.signal(SIGINT);
  child.wait_until([&] { return said("Ctrl-C again stops at once"); });
  child.signal(SIGINT);
  EXPECT_EQ(child.wait(), -SIGINT);
  EXPECT_TRUE(checkpoint::find_all(folder_ / "run/checkpoints").empty());
}

}  // namespace
}  // namespace mara::train
