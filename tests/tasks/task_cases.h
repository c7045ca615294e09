#pragma once
// Tasks from one-line recipes, and their examples as values.

#include <memory>
#include <string>
#include <vector>

#include "tasks/task.h"

namespace mara::tasks {

struct Example {
  std::vector<int32_t> ids, targets;
  bool operator==(const Example&) const = default;
};

inline Example example(const Task& task, Split split, int64_t index) {
  Example e{std::vector<int32_t>(static_cast<size_t>(task.length())), {}};
  e.targets = e.ids;
  task.example(split, index, e.ids, e.targets);
  return e;
}

/// From the inside of a flow mapping: "kind: mqar, length: 64".
inline TaskConfig read(const std::string& options) {
  TaskConfig config;
  config::Document::parse("{" + options + "}", "task.yaml").read(config);
  return config;
}

inline std::unique_ptr<Task> make(const std::string& options, uint64_t seed) { return read(options).make(seed); }

inline std::string error_of(const std::string& options) {
  try {
    make(options, 0);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace mara::tasks
