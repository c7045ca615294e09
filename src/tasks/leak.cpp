#include "tasks/leak.h"

#include <unordered_set>
#include <vector>

#include "tasks/split.h"

namespace mara::tasks {

double leak_fraction(const Task& task, Split split, int64_t count, int64_t train_examples) {
  std::vector<int32_t> ids(static_cast<size_t>(task.length())), targets(ids.size());
  const auto hash = [&](Split of, int64_t index) {
    task.example(of, index, ids, targets);
    return hash_tokens(ids);
  };
  std::unordered_set<uint64_t> seen;
  for (int64_t i = 0; i < train_examples; ++i) seen.insert(hash(Split::train, i));
  int64_t leaked = 0;
  for (int64_t i = 0; i < count; ++i) leaked += seen.contains(hash(split, i));
  return static_cast<double>(leaked) / static_cast<double>(count);
}

}  // namespace mara::tasks
