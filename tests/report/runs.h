#pragma once
// Run folders to read.

#include <fstream>
#include <iterator>
#include <string>

#include "report/report.h"
#include "temporary_folder.h"

namespace mara::report {

inline void write_file(const std::filesystem::path& path, const std::string& content) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

inline std::filesystem::path make_run(const std::filesystem::path& folder, const std::string& metrics,
                                      const std::string& recipe = "run: {name: x, seed: 1}\n") {
  write_file(folder / "metrics.jsonl", metrics);
  write_file(folder / "recipe.yaml", recipe);
  return folder;
}

/// A line of metrics.jsonl.
inline std::string step_line(int step, double loss) {
  return "{\"step\":" + std::to_string(step) + ",\"loss\":" + std::to_string(loss) +
         ",\"lr\":0.001,\"grad_norm\":1.5,\"skipped\":false,\"tokens_per_second\":1000,\"memory\":4096}\n";
}

}  // namespace mara::report
