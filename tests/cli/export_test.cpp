// export, import and logits as a user runs them.

#include <cstring>
#include <limits>

#include "train/child.h"
#include "train/recipes.h"

namespace mara::train {
namespace {

const std::string kHyena = std::string(MARA_SOURCE_DIR) + "/recipes/tests/hyena.yaml";

class Interchange : public testing::Test {
 protected:
  int run(const std::vector<std::string>& arguments) { return Child(arguments, folder_ / "output.txt").wait(); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string output() const { return read_file(folder_ / "output.txt"); }
  void SetUp() override {
    ASSERT_EQ(run({"train", kHyena, "--out", at("run"), "--set", "train.steps=3"}), 0) << output();
    std::ofstream(folder_ / "ids.txt") << "1 2 3\n4 5\n";
  }

  TemporaryFolder folder_;
};

TEST_F(Interchange, OutAndIn) {
  EXPECT_EQ(run({"export", at("run"), "--to", at("w.safetensors"), "--names", "safari"}), 0) << output();
  EXPECT_NE(output().find("60 tensors"), std::string::npos) << output();
  EXPECT_EQ(run({"import", at("w.safetensors"), "--recipe", kHyena, "--set", "train.steps=3", "--names", "safari",
                 "--to", at("in.h5")}),
            0)
      << output();
  for (const std::string name : {"run", "in.h5"}) {
    EXPECT_EQ(run({"logits", at(name), "--tokens", at("ids.txt"), "--to", at(name + ".safetensors")}), 0) << output();
  }
  EXPECT_EQ(read_file(folder_ / "run.safetensors"), read_file(folder_ / "in.h5.safetensors"));
  EXPECT_EQ(run({"train", kHyena, "--set", "train.steps=3", "--out", at("on"), "--resume", at("in.h5")}), 0)
      << output();
  EXPECT_EQ(lines_of(folder_ / "on/metrics.jsonl").size(), 3u + 1 + 1);
  EXPECT_EQ(run({"export", at("in.h5"), "--to", at("half.h5"), "--dtype", "bf16"}), 0) << output();
  EXPECT_LT(std::filesystem::file_size(folder_ / "half.h5"), std::filesystem::file_size(folder_ / "in.h5"));
}

TEST_F(Interchange, NothingIsOverwritten) {
  const std::vector<std::vector<std::string>> commands = {
      {"export", at("run"), "--to", at("w.safetensors")},
      {"export", at("run"), "--to", at("w.h5")},
      {"import", at("w.h5"), "--recipe", kHyena, "--to", at("in.h5")},
      {"logits", at("run"), "--tokens", at("ids.txt"), "--to", at("l.safetensors")}};
  for (const std::vector<std::string>& command : commands) {
    EXPECT_EQ(run(command), 0) << output();
    const std::string target = command.back(), content = read_file(target);
    const auto first = std::filesystem::last_write_time(target);
    EXPECT_EQ(run(command), 2);
    EXPECT_NE(output().find("error: " + target + ": exists"), std::string::npos) << output();
    EXPECT_NE(output().find("--force"), std::string::npos) << output();
    EXPECT_EQ(std::filesystem::last_write_time(target), first);
    std::vector<std::string> forced = command;
    forced.push_back("--force");
    EXPECT_EQ(run(forced), 0) << output();
    EXPECT_NE(std::filesystem::last_write_time(target), first);
    EXPECT_EQ(read_file(target), content);
  }
  const std::string trained = at("run/checkpoints/step_00000003.h5"), content = read_file(trained);
  for (std::vector<std::string> command : commands) {
    command.back() = trained;
    command.push_back("--force");
    EXPECT_EQ(run(command), 2);
    EXPECT_EQ(output().find("error: "), 0u) << output();
    EXPECT_EQ(read_file(trained), content);
  }
}

TEST_F(Interchange, BadInput) {
  ASSERT_EQ(run({"export", at("run"), "--to", at("w.safetensors")}), 0);
  const std::string good = read_file(folder_ / "w.safetensors");
  const auto file = [&](const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return at(name);
  };
  std::string nan = good;
  const float not_a_number = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(nan.data() + nan.size() - 4, &not_a_number, 4);
  const std::string huge = file("huge.safetensors", std::string("\x00\xe1\xf5\x05\0\0\0\0{", 9));  // 100,000,000
  std::filesystem::resize_file(huge, 100'000'008);
  const auto import = [&](const std::string& from) {
    return std::vector<std::string>{"import", from, "--recipe", kHyena, "--to", at("new.h5")};
  };
  const auto logits = [&](const std::string& tokens) {
    return std::vector<std::string>{"logits", at("run"), "--tokens", tokens, "--to", at("new.safetensors")};
  };
  EXPECT_EQ(run(import(file("good.safetensors", good))), 0) << output();  // the control
  std::filesystem::remove(folder_ / "new.h5");
  std::string infinite = good;
  const std::vector<float> large(16, 3e38f);
  std::memcpy(infinite.data() + infinite.size() - 64, large.data(), 64);  // the last tensor by name: norm.gain
  ASSERT_EQ(run({"import", file("infinite.safetensors", infinite), "--recipe", kHyena, "--to", at("infinite.h5")}), 0);
  const struct {
    std::vector<std::string> command;
    std::string says;
  } cases[] = {
      {import(at("absent.safetensors")), "absent.safetensors: cannot be read"},
      {import(folder_.path().string()), "ends in .safetensors or .h5"},
      {import(file("empty.safetensors", "")), "empty.safetensors"},
      {import(file("cut.safetensors", good.substr(0, good.size() - 1))), "cut short"},
      {import(file("more.safetensors", good + "x")), "something was appended"},
      {import(file("nan.safetensors", nan)), "is not a finite f32 number"},
      {import(huge), "at most 4000000 bytes"},
      {import(file("deep.safetensors", std::string("\x00\x09\x3d\0\0\0\0\0{\"a\":", 13) + std::string(3'999'995, '['))),
       "a list stands where none may"},
      {import(file("foreign.h5", "\x89HDF\r\n\x1a\n" + std::string(2000, '\0'))), "does not begin with Mara's mark"},
      {{"import", at("w.safetensors"), "--recipe", at("absent.yaml"), "--to", at("new.h5")}, "absent.yaml"},
      {{"import", at("w.safetensors"), "--recipe", kHyena, "--set", "model.width=32", "--to", at("new.h5")},
       "does not fit this recipe's model"},
      {{"import", at("w.safetensors"), "--recipe", kHyena, "--names", "other", "--to", at("new.h5")},
       "own, safari, h3"},
      {{"export", at("absent"), "--to", at("new.h5")}, "absent"},
      {{"export", at("w.safetensors"), "--to", at("new.h5")}, "w.safetensors"},
      {{"export", at("run"), "--to", at("new.bin")}, "ends in .safetensors or .h5"},
      {{"export", at("run"), "--to", at("new.h5"), "--dtype", "f16"}, "--dtype"},
      {{"export", at("run"), "--to", at("new.h5"), "--names", "h3"}, "no Hyena layers"},
      {{"export", at("run"), "--to", at("none/new.h5")}, "none/new.h5: cannot be made: there is no folder"},
      {{"export", at("absent"), "--to", at("none/new.h5")}, "there is no folder"},  // before any work
      {{"export", at("run"), "--to", at("run"), "--force"}, "ends in .safetensors or .h5"},
      {{"export", at("run"), "--to", ""}, "'': a name that ends in"},
      {{"export", at("run"), "--to", at("new.safetensors"), "--names", file("names.yaml", "'*': '\xff*'\n")},
       "names.yaml:1: *: a name in UTF-8 without control characters is required, got \\xff*"},
      {{"import", at("w.safetensors"), "--recipe", kHyena, "--to", at("new.safetensors")}, "ends in .h5"},
      {{"import", at("w.safetensors"), "--recipe", kHyena, "--to", at("none/new.h5")}, "there is no folder"},
      {{"import", at("run/checkpoints/step_00000003.h5"), "--recipe", kHyena, "--to", at("new.h5")},
       "this is a checkpoint, which eval, generate"},
      {{"generate", at("w.safetensors"), "--prompt", "a"}, "mara import"},
      {{"logits", at("run"), "--tokens", at("ids.txt"), "--to", at("new.h5")}, "ends in .safetensors"},
      {{"logits", at("infinite.h5"), "--tokens", at("ids.txt"), "--to", at("new.safetensors")},
       "infinite.h5: its logits for line 1 are not all finite"},
      {logits(at("absent.txt")), "absent.txt"},
      {logits(file("wrong.txt", "1 2\n3 x\n")), "wrong.txt:2:3"},
      {logits(file("beyond.txt", "1 2 10\n")), "vocabulary"},
      {logits(file("long.txt", "0 1 2 3 4 5 6 7 8 9 0 1 2\n")), "at most 12 ids"},
      {logits(file("endless.txt", std::string(1'000'000, '9'))), "vocabulary"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(run(c.command), 2) << output();
    EXPECT_NE(output().find(c.says), std::string::npos) << c.says << "\n" << output();
    EXPECT_EQ(output().find("error: "), 0u) << output();
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
      EXPECT_NE(entry.path().filename().string().find("new."), 0u) << entry.path();
    }
  }
}

}  // namespace
}  // namespace mara::train
