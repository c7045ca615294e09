#include "checkpoint/checkpoint.h"

#include <cmath>
#include <random>

#include "checkpoint/toy_state.h"
#include "core/thrown.h"
#include "io/files.h"

namespace mara::checkpoint {
namespace {

using io::read_file, io::write_byte, io::write_file;

class CheckpointTest : public testing::Test {
 protected:
  std::string complaint(const std::filesystem::path& path, ToyState& into) {
    const std::string text = message_of<Error>([&] { Checkpoint(path).load(into.function()); });
    EXPECT_TRUE(text == "nothing was thrown" || text.starts_with(path.string() + ": ")) << text;
    return text;
  }
  bool detected(const std::filesystem::path& path) {
    ToyState state(0);
    return complaint(path, state) != "nothing was thrown";
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "a.h5";
};

TEST_F(CheckpointTest, LoadsWhatWasSaved) {
  ToyState saved(0.3), loaded(2);
  saved.step = 123456789012;
  save(saved, path_, Score{"accuracy", 1.0 / 3});
  const Checkpoint checkpoint(path_);
  EXPECT_EQ(checkpoint.step(), saved.step);
  EXPECT_EQ(checkpoint.recipe(), "run: {name: toy}\n");
  EXPECT_EQ(checkpoint.score()->name, "accuracy");
  EXPECT_EQ(checkpoint.score()->value, 1.0 / 3);
  EXPECT_NE(loaded.values(), saved.values());
  checkpoint.load(loaded.function());
  EXPECT_EQ(loaded.values(), saved.values());
  EXPECT_EQ(loaded.ids.to_host_i32(), saved.ids.to_host_i32());
  EXPECT_EQ(loaded.step, saved.step);
  EXPECT_EQ(loaded.other, saved.other);
  EXPECT_EQ(loaded.rebuilt, 1);
}

TEST_F(CheckpointTest, LoadsAPart) {
  struct Weights {
    Tensor weight = Tensor::from(wave(15, 9), {3, 5}, Dtype::f32, kCpu);
    void state(StateVisitor& v) { v.tensor("weight", weight); }
  } weights;
  ToyState saved(0.3);
  save(saved, path_);
  load_weights(Checkpoint(path_), weights);
  EXPECT_EQ(weights.weight.to_host(), saved.weight.to_host());
}

TEST_F(CheckpointTest, ListsAllDifferencesAtOnce) {
  ToyState saved(0.3), other(2);
  save(saved, path_);
  const auto values = other.values();
  other.identity = "two";
  const StateFunction state = [&](StateVisitor& v) {
    other.state(v);
    int64_t extra = 0;
    v.integer("extra", extra);
    v.tensor("more", other.weight);
  };
  other.half = other.weight;                // dtype and shape
  other.wide = other.wide.reshape({4, 2});  // shape
  const std::string text = message_of<Error>([&] { Checkpoint(path_).load(state); });
  for (const char* expected : {"half: f32 of shape (3, 5) is required, there is bf16 of shape (7)",
                               "wide: f64 of shape (4, 2) is required, there is f64 of shape (2, 2, 2)",
                               "more: missing, f32 of shape (3, 5) is required", "the number extra is missing",
                               "identity: two is required, there is one"}) {
    EXPECT_NE(text.find(expected), std::string::npos) << expected << "\n" << text;
  }
  EXPECT_EQ(other.weight.to_host(), values[0]);
  EXPECT_EQ(other.rebuilt, 0);
  const StateFunction less = [&](StateVisitor& v) { v.tensor("weight", saved.weight); };
  EXPECT_NE(message_of<Error>([&] {
              Checkpoint(path_).load(less);
            }).find("wide: f64 of shape (2, 2, 2) is there, nothing here has this name"),
            std::string::npos);
}

TEST_F(CheckpointTest, SeesFlippedBits) {
  ToyState state(0.3);
  save(state, path_);
  ASSERT_FALSE(detected(path_));
  const std::string good = read_file(path_);
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    const size_t at = random() % good.size();
    write_byte(path_, at, static_cast<char>(good[at] ^ 1 << random() % 8));
    ASSERT_TRUE(detected(path_)) << at;
    write_byte(path_, at, good[at]);
  }
}

TEST_F(CheckpointTest, SeesEveryTruncation) {
  ToyState state(0.3);
  save(state, path_);
  for (size_t size = std::filesystem::file_size(path_); size-- > 0;) {
    std::filesystem::resize_file(path_, size);
    ASSERT_TRUE(detected(path_)) << size;
  }
}

TEST_F(CheckpointTest, EveryDatasetHasItsOwnChecksum) {
  ToyState state(0.3);
  save(state, path_);
  const io::ByteRange place = Checkpoint(path_).file().find("wide")->bytes;
  write_byte(path_, static_cast<size_t>(place.begin), 'x');
  io::seal(path_, io::FileKind::checkpoint);  // whole again, for the guard
  EXPECT_NE(complaint(path_, state).find("dataset wide: its bytes do not have the checksum"), std::string::npos);
}

TEST_F(CheckpointTest, RefusesNumbersThatAreNotFinite) {
  for (const double bad : {std::nan(""), static_cast<double>(HUGE_VAL), -static_cast<double>(HUGE_VAL)}) {
    for (const char* name : {"weight", "half", "wide"}) {
      ToyState state(0.3);
      Tensor& tensor = name[0] == 'h' ? state.half : name[1] == 'e' ? state.weight : state.wide;
      std::vector<double> values = tensor.to_host();
      values.back() = bad;
      tensor = Tensor::from(values, tensor.shape(), tensor.dtype(), kCpu);
      save(state, path_);
      EXPECT_NE(complaint(path_, state).find(std::string("dataset ") + name + ": holds numbers that are not finite"),
                std::string::npos);
    }
  }
}

TEST_F(CheckpointTest, NamesWhatIsNoCheckpoint) {
  ToyState state(0.3);
  write_file(path_, "not one");
  EXPECT_TRUE(detected(path_));
  std::filesystem::remove(path_);
  EXPECT_TRUE(detected(path_));
  {  // of ours, but not this
    io::Hdf5Writer writer(path_, 0);
    writer.finish(io::FileKind::shard);
  }
  EXPECT_NE(complaint(path_, state).find("a checkpoint is required, this is a token shard"), std::string::npos);
  std::filesystem::remove(path_);
  {
    io::Hdf5Writer writer(path_, 0);
    writer.attribute("format", "mara-checkpoint");
    writer.finish(io::FileKind::checkpoint);
  }
  EXPECT_NE(complaint(path_, state).find("attribute step is missing"), std::string::npos);
}

TEST_F(CheckpointTest, IsFoundByContent) {
  ToyState state(0.3);
  for (const int64_t step : {20, 300, 1}) {
    state.step = step;
    save(state, folder_ / ("name" + std::to_string(-step)), Score{"loss", -static_cast<double>(step)});
  }
  state.step = 999;
  save(state, folder_ / "z.tmp-1-1");  // what a killed process leaves
  write_file(folder_ / "step_00009999.h5", "damaged");
  std::filesystem::create_symlink(folder_ / "nowhere", folder_ / "latest");
  const std::vector<Found> found = find_all(folder_.path());
  ASSERT_EQ(found.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(found[i].step, (std::vector<int64_t>{1, 20, 300})[i]);
  EXPECT_EQ(found[2].score->value, -300);
  EXPECT_TRUE(find_all(folder_ / "absent").empty());
  EXPECT_TRUE(holds_files(folder_.path()));
  EXPECT_FALSE(holds_files(folder_ / "absent"));
}

}  // namespace
}  // namespace mara::checkpoint
