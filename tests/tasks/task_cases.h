#pragma once
// Tasks from one-line recipes, and their examples as values.

#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "tasks/rows.h"
#include "tasks/split.h"
#include "tasks/task.h"

namespace mara::tasks {

struct Example {
  std::vector<int32_t> ids, targets;
  std::vector<float> inputs = {}, values = {};
  bool operator==(const Example&) const = default;
};

inline Example example(const Task& task, Split split, int64_t index) {
  Rows rows(1, task.form());
  task.example(split, index, rows[0]);
  return {rows.ids, rows.targets, rows.inputs, rows.values};
}

/// The fraction of the first `count` examples of `split` whose tokens are those of one of the first `train_examples`
/// training examples.
inline double leak_fraction(const Task& task, Split split, int64_t count, int64_t train_examples) {
  std::unordered_set<uint64_t> seen;
  for (int64_t i = 0; i < train_examples; ++i) seen.insert(hash_tokens(example(task, Split::train, i).ids));
  int64_t leaked = 0;
  for (int64_t i = 0; i < count; ++i) leaked += seen.contains(hash_tokens(example(task, split, i).ids));
  return static_cast<double>(leaked) / static_cast<double>(count);
}

/// From the inside of a flow mapping: "kind: mqar, length: 64".
inline TaskConfig read(const std::string& options) {
  TaskConfig config;
  config::Document::parse("{" + options + "}", "task.yaml").read(config);
  return config;
}

inline std::shared_ptr<const Task> make(const std::string& options, uint64_t seed) { return read(options).make(seed); }

inline std::string error_of(const std::string& options) {
  try {
    make(options, 0);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace mara::tasks
