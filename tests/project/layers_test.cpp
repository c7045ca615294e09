// The direction of dependencies, read from the #include lines: a layer knows only what lies below it, and each library
// hides in a few files.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace mara {
namespace {

using Lines = std::vector<std::string>;

/// What each folder of src/, and kernels/, may include besides itself.
const std::map<std::string, Lines> kLayers = {
    {"core", {}},
    {"config", {"core"}},
    {"io", {"core"}},
    {"kernels", {"core"}},
    {"kernels/bench", {"core", "kernels", "data"}},
    {"autograd", {"core", "kernels"}},  // the tape copies and zeroes gradients
    {"ops", {"core", "kernels", "autograd"}},
    {"nn", {"core", "config", "kernels", "autograd", "ops"}},
    {"models", {"core", "config", "autograd", "ops", "nn"}},
    {"optim", {"core", "config", "kernels", "nn"}},
    {"tasks", {"core", "config", "kernels"}},  // kernels/common: random numbers
    {"data", {"core", "config", "kernels", "io"}},
    {"eval", {"core", "config", "kernels", "autograd", "models", "tasks", "data"}},
    {"checkpoint", {"core", "io"}},  // knows not what the state means
    {"generate", {"core", "kernels", "models"}},  // kernels/common: random numbers
    {"report", {"core", "config"}},  // run folders as files
    {"train",
     {"core", "config", "io", "kernels", "autograd", "ops", "nn", "models", "optim", "tasks", "data", "checkpoint",
      "eval", "generate"}},
    {"weights", {"core", "config", "io", "autograd", "nn", "models", "optim", "checkpoint", "train"}},
    {"bench", {"core", "kernels", "train"}},
    {"cli",
     {"core", "config", "io", "kernels", "tasks", "data", "checkpoint", "eval", "report", "train", "weights", "generate",
      "bench"}},
};

/// Where a library may be included: prefixes of paths.
const std::map<std::string, Lines> kLibraries = {
    {"yaml-cpp/", {"src/config/parse.cpp"}},
    {"spdlog/", {"src/core/log.cpp"}},
    {"CLI/", {"src/cli/"}},
    {"nlohmann/",
     {"src/train/run_folder.cpp", "src/report/run_reader.cpp", "src/io/safetensors.cpp", "src/weights/export.cpp",
      "src/bench/bench.cpp", "src/cli/eval.cpp"}},
    {"hdf5", {"src/io/hdf5_file.cpp"}},
    {"omp.h", {"src/core/parallel.h"}},
    {"cblas.h", {"kernels/cpu/gemm.h"}},
    {"cuda", {"kernels/cuda/"}},
    {"benchmark/", {"kernels/bench/"}},
};

constexpr size_t kLineLimit = 500;
const Lines kLongFiles = {};  // files that say at their top why they are longer

bool begins_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }
bool contains(const Lines& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

std::string layer_of(const std::string& path) {
  if (begins_with(path, "kernels/bench/")) return "kernels/bench";
  if (begins_with(path, "kernels/")) return "kernels";
  return path.substr(4, path.find('/', 4) - 4);  // src/<layer>/...
}

/// All that is wrong with a source file, as "path:line: what".
Lines violations(const std::string& path, const std::string& source) {
  static const std::regex include(R"rx(^\s*#\s*include\s+(["<])([^">]+)[">])rx"), condition(R"(^\s*#\s*(el)?if)");
  Lines out;
  const std::string layer = layer_of(path);
  const auto allowed = kLayers.find(layer);
  if (allowed == kLayers.end()) return {path + ": folder " + layer + " is not in the table of layers"};
  std::istringstream stream(source);
  size_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    const auto complain = [&](const std::string& what) {
      out.push_back(path + ":" + std::to_string(number) + ": " + what);
    };
    std::smatch match;
    if (std::regex_search(line, match, include)) {
      const std::string header = match[2];
      if (match[1] == "\"") {
        const std::string target = header.substr(0, header.find('/'));
        if (target == header || kLayers.count(target) == 0) {
          complain(header + " is not a path from the root or src/");
        } else if (target != layer && !contains(allowed->second, target)) {
          complain(layer + " must not include " + target);
        }
      }
      for (const auto& [library, places] : kLibraries) {
        const bool here =
            std::any_of(places.begin(), places.end(), [&](const auto& p) { return begins_with(path, p); });
        if (match[1] == "<" && begins_with(header, library) && !here) complain(header + " is hidden elsewhere");
      }
      // The CUDA compiler reads our headers; formatting stays out of them.
      if (begins_with(header, "fmt/") && path.ends_with(".h")) complain("fmt in a header");
    } else if (std::regex_search(line, condition)) {
      const bool debug = line.find("NDEBUG") != std::string::npos;
      if (begins_with(path, "src/") && !debug) complain("files choose the backend, not " + line);
      if (!begins_with(path, "kernels/cuda/") && line.find("CUDA") != std::string::npos) complain(line);
    }
  }
  if (number >= kLineLimit && !contains(kLongFiles, path)) out.push_back(path + ": 500 lines or more");
  return out;
}

std::map<std::string, std::string> sources(const Lines& folders) {
  const std::filesystem::path root = MARA_SOURCE_DIR;
  const Lines extensions = {".h", ".cpp", ".inc", ".cu", ".cuh"};
  std::map<std::string, std::string> out;
  for (const std::string& folder : folders) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      if (!contains(extensions, entry.path().extension())) continue;
      std::ifstream file(entry.path());
      out[std::filesystem::relative(entry.path(), root).string()] = {std::istreambuf_iterator<char>(file), {}};
    }
  }
  return out;
}

TEST(Layers, SourcesFollowTheTable) {
  Lines all;
  for (const auto& [path, source] : sources({"src", "kernels"})) {
    for (const std::string& violation : violations(path, source)) all.push_back(violation);
  }
  EXPECT_EQ(all, Lines{});
}

TEST(Layers, TestsAreShortToo) {
  for (const auto& [path, source] : sources({"tests"})) {
    EXPECT_LT(std::count(source.begin(), source.end(), '\n'), static_cast<int64_t>(kLineLimit)) << path;
  }
}

TEST(Layers, PermissionsHaveNoCycles) {
  std::map<std::string, int> height;  // 1 + that of the highest layer below
  for (size_t round = 0; round <= kLayers.size(); ++round) {
    for (const auto& [layer, below] : kLayers) {
      for (const std::string& other : below) height[layer] = std::max(height[layer], height[other] + 1);
    }
  }
  for (const auto& [layer, h] : height) EXPECT_LE(h, static_cast<int>(kLayers.size())) << layer;
}

TEST(Layers, ViolationsAreFound) {
  const auto count = [](const std::string& path, const std::string& source) { return violations(path, source).size(); };
  EXPECT_EQ(count("src/ops/a.cpp", "#include \"kernels/kernels.h\"\n#include <vector>\n"), 0u);
  EXPECT_EQ(violations("src/ops/a.cpp", "\n#include \"nn/linear.h\"\n"),
            Lines{"src/ops/a.cpp:2: ops must not include nn"});
  EXPECT_EQ(count("src/core/a.h", "#  include \"config/fields.h\""), 1u);
  EXPECT_EQ(count("kernels/cpu/a.cpp", "#include \"autograd/tape.h\""), 1u);
  EXPECT_EQ(count("src/train/a.cpp", "#include \"cli/commands.h\""), 1u);
  EXPECT_EQ(count("src/nn/a.cpp", "#include \"a.h\""), 1u);
  EXPECT_EQ(count("src/new_folder/a.cpp", ""), 1u);
  EXPECT_EQ(count("src/train/a.cpp", "#include <yaml-cpp/yaml.h>"), 1u);
  EXPECT_EQ(count("src/config/parse.cpp", "#include <yaml-cpp/yaml.h>"), 0u);
  EXPECT_EQ(count("src/nn/a.cpp", "#include <spdlog/spdlog.h>\n#include <nlohmann/json.hpp>\n#include <CLI/CLI.hpp>"),
            3u);
  EXPECT_EQ(count("src/nn/a.cpp", "#include <cuda_runtime.h>"), 1u);
  EXPECT_EQ(count("src/core/a.h", "#include <fmt/format.h>"), 1u);
  EXPECT_EQ(count("src/core/a.cpp", "#include <fmt/format.h>"), 0u);
  EXPECT_EQ(count("src/core/a.h", "#ifdef NDEBUG\n#else\n#endif"), 0u);
  EXPECT_EQ(count("src/core/a.h", "#ifdef MARA_CUDA"), 2u);
  EXPECT_EQ(count("kernels/cpu/a.h", "#if defined(__AVX512F__)"), 0u);
  EXPECT_EQ(count("kernels/table.cpp", "#ifdef MARA_HAVE_CUDA"), 1u);
  EXPECT_EQ(count("src/core/a.cpp", std::string(500, '\n')), 1u);
  EXPECT_EQ(count("src/core/a.cpp", std::string(499, '\n')), 0u);
}

}  // namespace
}  // namespace mara
