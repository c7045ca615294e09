// Kills runs of the program at random moments and resumes them: 20 times, or MARA_KILLS=100 train_test
// --gtest_filter='KillResume*'. Every run must end with the bits of one that was left alone.

#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "checkpoint/checkpoint_writer.h"
#include "io/atomic_file.h"
#include "train/child.h"
#include "train/recipes.h"

namespace mara::train {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// 1.5 MB of state and steps of about a millisecond: a checkpoint is being written for most of the time.
constexpr int64_t kSteps = 240;
const std::vector<std::string> kOverrides = {"train.steps=240",  "checkpoint.every=4", "checkpoint.keep=2",
                                             "eval.every=60",    "eval.examples=8",    "eval.test_examples=0",
                                             "model.vocab=2000", "model.width=32",     "model.residual_dropout=0.1",
                                             "train.batch=4"};

enum class Moment { before_first_checkpoint, during_resume, during_write, otherwise };
const std::map<Moment, std::string> kNames = {{Moment::before_first_checkpoint, "before the first checkpoint"},
                                              {Moment::during_resume, "during resume"},
                                              {Moment::during_write, "while a checkpoint was being written"},
                                              {Moment::otherwise, "otherwise"}};

struct Contents {
  size_t whole = 0, temporary = 0;
};

Contents contents(const std::filesystem::path& checkpoints) {
  Contents out;
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints, absent)) {
    ++(io::is_temporary(entry.path()) ? out.temporary : out.whole);
  }
  return out;
}

std::map<int64_t, double> losses(const std::filesystem::path& folder) {
  std::map<int64_t, double> out;
  for (const std::string& line : lines_of(folder / "metrics.jsonl")) {
    const nlohmann::json object = nlohmann::json::parse(line);
    if (object.contains("split")) continue;
    EXPECT_TRUE(out.emplace(object["step"], object["loss"]).second) << "step twice: " << line;
  }
  return out;
}

class KillResume : public testing::Test {
 protected:
  std::filesystem::path folder(const std::string& name) const { return temporary_ / name; }
  std::vector<std::string> arguments(const std::string& name) const {
    std::vector<std::string> out = {"train",     std::string(MARA_SOURCE_DIR) + "/recipes/tests/hyena.yaml",
                                    "--threads", "1",
                                    "--resume",  "latest",
                                    "--out",     folder(name).string()};
    for (const std::string& assignment : kOverrides) out.insert(out.end(), {"--set", assignment});
    return out;
  }
  /// Whether the last start came as far as its first step.
  bool training() const { return read_file(folder("output")).find("training test_hyena") != std::string::npos; }
  double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random_); }
  static void sleep(double seconds) { std::this_thread::sleep_for(Seconds(seconds)); }

  /// Runs undisturbed and learns how long things take here.
  void run_reference() {
    const Clock::time_point start = Clock::now();
    Child child(arguments("reference"), folder("output"));
    const auto since = [&] { return Seconds(Clock::now() - start).count(); };
    child.wait_until([&] { return std::filesystem::exists(folder("reference/checkpoints")); });
    start_up_ = resume_ = since();
    int64_t looks = 0, writing = 0;
    while (child.running()) {
      const Contents now = contents(folder("reference/checkpoints"));
      if (now.whole == 0) first_checkpoint_ = since();
      if (now.whole + now.temporary == 0) before_ = since();
      ++looks;
      writing += now.temporary > 0;
      sleep(2e-4);
    }
    ASSERT_EQ(child.wait(), 0) << read_file(folder("output"));
    writing_fraction_ = static_cast<double>(writing) / static_cast<double>(looks);
  }

  /// Starts the run, kills it at about the moment wanted and says which moment it was; nothing if it ended before.
  std::optional<Moment> start_and_kill(const std::string& name, Moment wanted) {
    const std::filesystem::path checkpoints = folder(name) / "checkpoints";
    Child child(arguments(name), folder("output"));
    if (wanted == Moment::before_first_checkpoint) sleep(uniform(0, before_));
    if (wanted == Moment::during_resume) sleep(uniform(0, resume_));
    if (wanted == Moment::otherwise) sleep(uniform(start_up_, 3 * first_checkpoint_));
    if (wanted == Moment::during_write) {
      child.wait_until([&] { return training(); });
      sleep(uniform(0, first_checkpoint_));
      child.wait_until([&] { return contents(checkpoints).temporary > 0; });
      sleep(uniform(0, 0.005));
    }
    child.signal(SIGKILL);
    if (child.wait() != -SIGKILL) return std::nullopt;
    const Contents left = contents(checkpoints);
    // Before training begins, a temporary file is one that the start before this left.
    if (left.whole > 0 && !training()) return Moment::during_resume;
    if (left.whole + left.temporary == 0) return Moment::before_first_checkpoint;
    // Too late: starting takes less time than it took the first time.
    if (wanted == Moment::during_resume) resume_ *= 0.8;
    if (wanted == Moment::before_first_checkpoint) before_ *= 0.8;
    return left.temporary > 0 ? Moment::during_write : Moment::otherwise;
  }

  TemporaryFolder temporary_;
  std::mt19937_64 random_{std::random_device{}()};
  double start_up_ = 0, first_checkpoint_ = 0;  // seconds from the start
  double before_ = 0, resume_ = 0;              // latest moments to kill at, to hit these two
  double writing_fraction_ = 0;
};

TEST_F(KillResume, EndsWithTheBitsOfAnUninterruptedRun) {
  const char* given = std::getenv("MARA_KILLS");
  const int kills = given != nullptr ? std::atoi(given) : 20;
  run_reference();
  const std::string final_file = "checkpoints/" + checkpoint::file_name(kSteps);
  const std::string expected = read_file(folder("reference") / final_file);
  ASSERT_FALSE(expected.empty());

  constexpr Moment kCycle[] = {Moment::before_first_checkpoint,
                               Moment::during_write,
                               Moment::during_resume,
                               Moment::during_write,
                               Moment::during_write,
                               Moment::otherwise};
  // By hand every class must hold its share; here none may be empty, since a busy machine spoils the aim. Chance may
  // ask for more kills than were wanted.
  const bool by_hand = given != nullptr;
  std::map<Moment, int> count, least = {{Moment::before_first_checkpoint, by_hand ? kills / 10 : 1},
                                        {Moment::during_resume, by_hand ? kills / 10 : 1},
                                        {Moment::during_write, by_hand ? 4 * kills / 10 : 1}};
  const auto enough = [&] {
    return std::all_of(least.begin(), least.end(), [&](const auto& item) { return count[item.first] >= item.second; });
  };
  int killed = 0, runs = 0;
  while (killed < kills || (!enough() && killed < 5 * kills)) {
    const std::string name = "run" + std::to_string(runs++);
    for (const Moment wanted : kCycle) {
      const std::optional<Moment> moment = start_and_kill(name, wanted);
      if (!moment) break;
      ++count[*moment];
      ++killed;
    }
    ASSERT_EQ(Child(arguments(name), folder("output")).wait(), 0) << read_file(folder("output"));
    EXPECT_TRUE(read_file(folder(name) / final_file) == expected) << name;  // parameters, optimiser, counters
    EXPECT_EQ(losses(folder(name)), losses(folder("reference"))) << name;
    EXPECT_EQ(contents(folder(name) / "checkpoints").temporary, 0u);
    std::filesystem::remove_all(folder(name));
  }
  std::printf("%d kills in %d runs; a checkpoint is being written %.0f %% of the time\n", killed, runs,
              100 * writing_fraction_);
  for (const auto& [moment, name] : kNames) std::printf("  %3d %s\n", count[moment], name.c_str());
  if (by_hand) {
    EXPECT_GE(writing_fraction_, 0.3);
  }
  EXPECT_TRUE(enough());
}

}  // namespace
}  // namespace mara::train
