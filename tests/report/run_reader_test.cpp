#include "report/run_reader.h"

#include <gmock/gmock.h>

#include <cmath>

#include "core/error.h"
#include "report/runs.h"

namespace mara::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::string error_of(const std::filesystem::path& folder) {
  try {
    read_run(folder);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RunReader, StepsAndEvaluations) {
  const TemporaryFolder folder;
  const report::Run run = read_run(make_run(
      folder / "first", step_line(1, 2.5) + step_line(2, 2.25) +
                            "{\"step\":2,\"split\":\"valid\",\"loss\":2.0,\"accuracy\":0.5,\"bits_per_byte\":2.9}\n"
                            "{\"step\":2,\"split\":\"test\",\"loss\":2.1}\n"));
  EXPECT_EQ(run.name, "first");
  EXPECT_THAT(run.of_training("loss").values, ElementsAre(2.5, 2.25));
  EXPECT_THAT(run.of_training("skipped").values, ElementsAre(0, 0));
  EXPECT_THAT(run.of_evaluation("valid", "bits_per_byte").steps, ElementsAre(2));
  EXPECT_THAT(run.of_evaluation("test", "loss").values, ElementsAre(2.1));
  EXPECT_TRUE(run.of_evaluation("test", "accuracy").empty());
  EXPECT_TRUE(run.of_evaluation("other", "loss").empty());
  EXPECT_EQ(run.damaged_lines, 0);
}

TEST(RunReader, TakesWhatComes) {
  const TemporaryFolder folder;
  const report::Run run =
      read_run(make_run(folder / "run",
                        "{\"step\":1,\"loss\":null,\"new\":7,\"odd\":1e200,\"text\":\"x\",\"list\":[1]}\n"
                        "\n"
                        "{\"step\":2}\n"
                        "not json\n"
                        "[1]\n"
                        "{\"loss\":1}\n"
                        "{\"step\":-1,\"loss\":1}\n"
                        "{\"step\":1e300,\"loss\":1}\n"
                        "{\"step\":3,\"loss\":1e999}\n"
                        "{\"step\":4,\"split\":5}\n"
                        "{\"step\":5,\"loss\":0.5}\n" +
                            std::string(200000, 'x') + "\n{\"step\":6,\"loss\":0.25}\n{\"step\":7,\"lo"));
  EXPECT_THAT(run.of_training("new").values, ElementsAre(7));
  EXPECT_TRUE(std::isnan(run.of_training("odd").values[0]));  // too large to draw
  EXPECT_FALSE(run.training.contains("text"));
  EXPECT_THAT(run.of_training("loss").steps, ElementsAre(1, 5, 6));
  EXPECT_TRUE(std::isnan(run.of_training("loss").values[0]));
  // Not JSON, [1], no step, two odd ones, 1e999, split 5, the long one; not the incomplete last.
  EXPECT_EQ(run.damaged_lines, 8);
}

TEST(RunReader, RunsThatHaveJustBegun) {
  const TemporaryFolder folder;
  EXPECT_TRUE(read_run(make_run(folder / "empty", "")).training.empty());
  EXPECT_TRUE(read_run(make_run(folder / "killed", "{\"step\":1,\"los")).training.empty());
  EXPECT_THAT(read_run(make_run(folder / "complete", "{\"step\":1,\"loss\":3}")).of_training("loss").values,
              ElementsAre(3));
}

TEST(RunReader, TextsAndTimes) {
  const TemporaryFolder folder;
  const std::filesystem::path path =
      make_run(folder / "run", "", "run: {name: x}\nbetas: [0.9, 0.95]\noptim:\n  lr: 2.0e-3\n");
  write_file(path / "log.txt", "2026-02-28 23:59:50 info a\nno time\n2026-03-01 00:01:00 info b\n2026-");
  write_file(path / "samples.txt", std::string(1 << 20, 's'));
  write_file(path / "metrics.1.jsonl", step_line(1, 1));
  write_file(path / "metrics.3.jsonl", step_line(1, 1));
  write_file(path / "metrics.x.jsonl", step_line(1, 1));
  const report::Run run = read_run(path);
  EXPECT_THAT(run.settings,
              ElementsAre(Pair("run.name", "x"), Pair("betas", "[0.9, 0.95]"), Pair("optim.lr", "2.0e-3")));
  EXPECT_EQ(run.started, "2026-02-28 23:59:50");
  EXPECT_EQ(run.seconds, 70);
  EXPECT_LT(run.samples.size(), size_t{300000});
  EXPECT_THAT(run.samples, HasSubstr("[cut here"));
  EXPECT_EQ(run.parameters, "");
  EXPECT_EQ(run.earlier_attempts, 2);

  write_file(path / "recipe.yaml", "a: {b: [\n");
  write_file(path / "log.txt", "something else\n");
  const report::Run damaged = read_run(path);
  EXPECT_TRUE(damaged.settings.empty());
  EXPECT_EQ(damaged.recipe, "a: {b: [\n");
  EXPECT_FALSE(damaged.seconds);
  write_file(path / "log.txt", "2026-02-28 23:59:50 info a\n2026-03-01 00:01:00 info b\n");
  make_run(path, "{\"step\":1,\"seconds\":2.5}\n{\"step\":2,\"seconds\":4.5}\n");
  EXPECT_EQ(read_run(path).seconds, 4.5);  // without breaks between sessions
}

TEST(RunReader, NotARun) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(folder / "none"), HasSubstr("there is no such folder"));
  EXPECT_THAT(error_of(folder.path()), HasSubstr("it has no metrics.jsonl"));
  write_file(folder / "file", "x");
  EXPECT_THAT(error_of(folder / "file"), HasSubstr("this is a file"));
  EXPECT_THAT(error_of(make_run(folder / "text", "a,b\n1,2\n")), HasSubstr("there is none"));
  std::string binary;
  for (int i = 0; i < 100000; ++i) binary += static_cast<char>(i * 37 % 251);
  EXPECT_THAT(error_of(make_run(folder / "binary", binary)), HasSubstr("none in the first 100 lines"));
  std::filesystem::create_directories(folder / "odd/metrics.jsonl");
  EXPECT_THAT(error_of(folder / "odd"), HasSubstr("it has no metrics.jsonl"));
}

}  // namespace
}  // namespace mara::report
