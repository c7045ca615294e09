#pragma once
// Recipes to train on, and folders to train in.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "temporary_folder.h"
#include "train/trainer.h"

namespace mara::train {

/// Every YAML file below recipes/<folder>, sorted.
inline std::vector<std::filesystem::path> recipe_files(const std::string& folder = "") {
  std::vector<std::filesystem::path> out;
  const std::filesystem::path root = std::filesystem::path(MARA_SOURCE_DIR) / "recipes" / folder;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().extension() == ".yaml") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// recipes/tests/<name>.yaml with overrides.
inline Recipe test_recipe(const std::string& name, const std::vector<std::string>& overrides = {}) {
  return Recipe::load(std::string(MARA_SOURCE_DIR) + "/recipes/tests/" + name + ".yaml", overrides);
}

inline Recipe parse_recipe(const std::string& text) {
  Recipe recipe;
  config::Document::parse(text, "recipe.yaml").read(recipe);
  return recipe;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::vector<std::string> out;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) out.push_back(line);
  return out;
}

}  // namespace mara::train
