#include <algorithm>
#include <iterator>
#include <vector>

#include "tasks/associative_recall.h"
#include "tasks/induction_heads.h"
#include "tasks/mqar.h"
#include "tasks/task.h"

namespace mara::tasks {
namespace {

template <class T>
class OptionsOf final : public TaskConfig::Options {
 public:
  void fields(config::Fields& f) override { config_.fields(f); }
  std::unique_ptr<Task> make(uint64_t seed) const override { return std::make_unique<T>(config_, seed); }
  std::shared_ptr<Options> clone() const override { return std::make_shared<OptionsOf>(*this); }

 private:
  typename T::Config config_;
};

template <class T>
std::shared_ptr<TaskConfig::Options> make_options() {
  return std::make_shared<OptionsOf<T>>();
}

struct TaskEntry {
  const char* kind;
  int64_t train_examples;
  std::shared_ptr<TaskConfig::Options> (*make_options)();
};

constexpr TaskEntry kTasks[] = {
    {"associative_recall", 5000, &make_options<AssociativeRecall>},
    {"induction_heads", 5000, &make_options<InductionHeads>},
    {"mqar", 100000, &make_options<Mqar>},
};

}  // namespace

void TaskConfig::fields(config::Fields& f) {
  std::vector<std::string> kinds;
  for (const TaskEntry& entry : kTasks) kinds.push_back(entry.kind);
  f.kind("kind", kind, kinds, "which task", [&](const std::string& name) {
    if (options_ && options_kind_ == name) {
      options_ = options_->clone();  // a copy of this config may hold the same ones
    } else {
      const TaskEntry& entry = *std::find_if(std::begin(kTasks), std::end(kTasks),
                                             [&](const TaskEntry& candidate) { return candidate.kind == name; });
      options_ = entry.make_options();
      options_kind_ = name;
      train_examples_ = entry.train_examples;
    }
    options_->fields(f);
    f.field("examples", train_examples_, "number of training examples; 0: a fresh one every time", config::at_least(0));
  });
}

std::unique_ptr<Task> TaskConfig::make(uint64_t seed) const {
  std::unique_ptr<Task> task = options_->make(seed);
  std::vector<int32_t> ids(static_cast<size_t>(task->length())), targets(ids.size());
  for (const Split split : {Split::train, Split::valid, Split::test}) task->example(split, 0, ids, targets);
  return task;
}

}  // namespace mara::tasks
