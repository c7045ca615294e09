#include "checkpoint/checkpoint_writer.h"

#include <sys/resource.h>

#include <csignal>

#include "checkpoint/toy_state.h"
#include "io/files.h"

namespace mara::checkpoint {
namespace {

std::vector<int64_t> steps_in(const std::filesystem::path& folder) {
  std::vector<int64_t> out;
  for (const Found& found : find_all(folder)) out.push_back(found.step);
  return out;
}

TEST(CheckpointWriter, SavesTheStateOfTheCall) {
  const TemporaryFolder folder;
  ToyState state(0.3), loaded(2);
  const auto values = state.values();
  CheckpointWriter writer(folder / "made", {}, {}, state.function());
  EXPECT_TRUE(writer.wait());  // for nothing
  ASSERT_TRUE(writer.save("recipe"));
  *state.weight.view().ptr<float>() = 7;
  state.step = 2;
  EXPECT_TRUE(writer.wait());
  const Checkpoint checkpoint(folder / "made" / file_name(1));
  checkpoint.load(loaded.function());
  EXPECT_EQ(loaded.values(), values);
  EXPECT_EQ(loaded.step, 1);
  EXPECT_EQ(checkpoint.recipe(), "recipe");
}

TEST(CheckpointWriter, KeepsTheNewestTheMultiplesAndTheBest) {
  const TemporaryFolder folder;
  ToyState state(0.3);
  const auto run = [&](const std::string& name, const Keep& keep, std::vector<Found> existing, int64_t first) {
    CheckpointWriter writer(folder / name, keep, std::move(existing), state.function());
    for (state.step = first; state.step < first + 60; state.step += 10) {
      const double score = state.step == 20 ? 2 : state.step == 30 ? 3 : 1;
      EXPECT_TRUE(writer.save("", Score{"accuracy", score}));
      EXPECT_TRUE(writer.wait());
    }
    return steps_in(folder / name);
  };
  using Steps = std::vector<int64_t>;
  EXPECT_EQ(run("newest", {.newest = 2}, {}, 10), (Steps{50, 60}));
  EXPECT_EQ(run("multiples", {.newest = 1, .every = 20}, {}, 10), (Steps{20, 40, 60}));
  EXPECT_EQ(run("best", {.newest = 1, .best = "accuracy"}, {}, 10), (Steps{30, 60}));
  EXPECT_EQ(run("other", {.newest = 1, .best = "loss"}, {}, 10), (Steps{60}));
  // Going on: what is there counts.
  EXPECT_EQ(run("best", {.newest = 3, .best = "accuracy"}, find_all(folder / "best"), 70), (Steps{30, 100, 110, 120}));
}

TEST(CheckpointWriter, RemovesWhatAKilledRunLeft) {
  const TemporaryFolder folder;
  io::write_file(folder / "step_00000010.h5.tmp-1-1", "half");
  io::write_file(folder / "notes.txt", "mine");
  ToyState state(0.3);
  const CheckpointWriter writer(folder.path(), {}, {}, state.function());
  EXPECT_FALSE(std::filesystem::exists(folder / "step_00000010.h5.tmp-1-1"));
  EXPECT_TRUE(std::filesystem::exists(folder / "notes.txt"));
}

/// Files of this process cannot grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST(CheckpointWriter, OutlivesAFullDisk) {
  const TemporaryFolder folder;
  ToyState state(0.3);
  CheckpointWriter writer(folder.path(), {.newest = 1}, {}, state.function());
  ASSERT_TRUE(writer.save(""));
  ASSERT_TRUE(writer.wait());
  const std::string before = io::read_file(folder / file_name(1));
  state.step = 2;
  for (const rlim_t limit : {0, 600, 3000, 100000}) {
    const FileSizeLimit full(limit);
    ASSERT_TRUE(writer.save(""));
    EXPECT_FALSE(writer.wait());
  }
  EXPECT_EQ(io::read_file(folder / file_name(1)), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  ASSERT_TRUE(writer.save(""));
  EXPECT_TRUE(writer.wait());
  EXPECT_EQ(steps_in(folder.path()), std::vector<int64_t>{2});
}

}  // namespace
}  // namespace mara::checkpoint
