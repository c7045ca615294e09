#include <nlohmann/json.hpp>

#include "program.h"

namespace mara::cli {
namespace {

const std::string kHyena = std::string(MARA_SOURCE_DIR) + "/recipes/tests/hyena.yaml";

TEST_F(Program, Checks) {
  EXPECT_EQ(run({"check", kHyena, "--quick"}), 0) << output();
  expect_output({"fft_conv_backward", "worst output", "ok"});
  EXPECT_EQ(output().find("WRONG"), std::string::npos);
  EXPECT_EQ(run({"check"}), 2);
  EXPECT_EQ(run({"check", "absent.yaml"}), 2);
  expect_output({"absent.yaml"});
}

TEST_F(Program, Benches) {
  EXPECT_EQ(run({"bench", "rms_norm", "--set", "D=24", "--set", "H=2", "--effort", "0", "--json"}), 0) << output();
  const nlohmann::json json = nlohmann::json::parse(printed());
  ASSERT_EQ(json["kernels"].size(), 4u);  // with and without what is fused into them
  EXPECT_EQ(json["kernels"][0]["kernel"], "rms_norm_forward");
  EXPECT_GT(json["copy_bytes_per_second"], 1e7);
  EXPECT_GT(json["product_flops_per_second"], 1e7);
  for (const auto& [arguments, says] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"bench", "rmsnorm"}, "there are fill, copy"},
           {{"bench", "rms", "--set", "width=3"}, "unknown size width"},
           {{"bench", "step"}, "needs a recipe"},
           {{"bench", "rms", kHyena}, "only `mara bench step` takes a recipe"},
           {{"bench", "step", "absent.yaml"}, "absent.yaml"}}) {
    EXPECT_EQ(run(arguments), 2);
    expect_output({says});
  }
}

}  // namespace
}  // namespace mara::cli
