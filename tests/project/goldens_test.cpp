// Published or independently computed values that a layer of this project must reproduce: each has a test with the
// value's id in its name. Ids are numbers of sections and examples in the specifications that the layers follow
// (SSM: state-space and long-convolution layers; Monarch: Monarch Mixer; Parcae: looped language models).

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace mara {
namespace {

const std::vector<std::string> kGoldens = {
    "SSM_3",                  // HiPPO-LegS and its modes
    "SSM_5_1",                // initial modes of diagonal systems
    "SSM_13_hints",           // what is decayed and learns at its own rate
    "SSM_G1",                 // causal long convolution, its gradients
    "SSM_G2",                 // short convolution, its gradients
    "SSM_G3",                 // diagonal systems' filters, their gradients
    "SSM_G4_matrix",          // HiPPO-LegS held between samples
    "SSM_G4_modes",           // diagonal plus low rank filters
    "SSM_G5",                 // shift systems' filters, their gradients
    "SSM_G6",                 // H3's keys and heads, their gradients
    "SSM_G7",                 // Hyena's positional features and window
    "SSM_G8",                 // Hyena's filter, its gradients
    "SSM_G9",                 // Hyena's operator, orders 2 and 3
    "SSM_G10_bidirectional",  // both conventions of bidirectional convolution
    "SSM_G10_squash",         // soft threshold
    "SSM_G10_smooth",         // moving average
    "SSM_G10_double_exponential",
    "SSM_G12",                // MultiHyena's head
    "SSM_G13",                // size of initial filters
    "SSM_G14_timm_cosine",    // the schedule of safari and H3
    "SSM_G14_gelu",
    "SSM_7_1",   // parameter counts
    "SSM_9_6",
    "SSM_16",
    "Monarch_17_adamw",
    "Monarch_20_6",         // bidirectional convolution, its gradients
    "Monarch_20_7",         // features and window
    "Monarch_20_8_filter",  // bidirectional filter
    "Monarch_20_8_mixer_without_residual",
    "Parcae_16_3",  // RMSNorm, its gradients
    "Parcae_16_4_rotary",
    "Parcae_16_4_relu_squared",
    "Parcae_16_5",  // attention, its gradients
    "Parcae_16_7_adamw",
};

/// Names of the tests in sources: the second argument of TEST, TEST_F and TEST_P.
std::set<std::string> test_names(const std::string& source) {
  static const std::regex test(R"(TEST(?:_F|_P)?\(\s*\w+\s*,\s*(\w+)\s*\))");
  std::set<std::string> out;
  for (std::sregex_iterator it(source.begin(), source.end(), test), end; it != end; ++it) out.insert((*it)[1]);
  return out;
}

/// The ids that no test name is or begins with, up to an underscore: SSM_G1 is not found in SSM_G10.
std::vector<std::string> missing(const std::vector<std::string>& ids, const std::set<std::string>& names) {
  std::vector<std::string> out;
  for (const std::string& id : ids) {
    const bool found = std::any_of(names.begin(), names.end(),
                                   [&](const std::string& name) { return name == id || name.rfind(id + "_", 0) == 0; });
    if (!found) out.push_back(id);
  }
  return out;
}

std::set<std::string> all_test_names() {
  std::set<std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(MARA_SOURCE_DIR "/tests")) {
    if (entry.path().extension() != ".cpp") continue;
    std::ifstream file(entry.path());
    out.merge(test_names({std::istreambuf_iterator<char>(file), {}}));
  }
  return out;
}

TEST(Goldens, EachHasATest) {
  const std::set<std::string> names = all_test_names();
  EXPECT_EQ(missing(kGoldens, names), std::vector<std::string>{});
  EXPECT_EQ(missing({"SSM_G1234"}, names), std::vector<std::string>{"SSM_G1234"});  // control
}

TEST(Goldens, TestNamesAreReadFromSources) {
  EXPECT_EQ(test_names("TEST(A, SSM_G10) {}\nTEST_P(B,\n  SSM_G2_values) {}  // SSM_G7"),
            (std::set<std::string>{"SSM_G10", "SSM_G2_values"}));
  EXPECT_EQ(missing({"SSM_G1", "SSM_G2", "SSM_G7"}, {"SSM_G10", "SSM_G2_values"}),
            (std::vector<std::string>{"SSM_G1", "SSM_G7"}));
}

}  // namespace
}  // namespace mara
