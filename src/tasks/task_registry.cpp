// Every task, one line each.

#include <vector>

#include "config/kinds.h"
#include "tasks/associative_recall.h"
#include "tasks/induction_heads.h"
#include "tasks/mqar.h"
#include "tasks/task.h"

namespace mara::tasks {
namespace {

/// `kExamples`: the usual number of training examples.
template <class T, int64_t kExamples>
class OptionsOf final : public TaskConfig::Options {
 public:
  OptionsOf() { train_examples = kExamples; }
  void fields(config::Fields& f) override {
    config_.fields(f);
    f.field("examples", train_examples, "number of training examples; 0: a fresh one every time", config::at_least(0));
  }
  std::unique_ptr<Task> make(uint64_t seed) const override { return std::make_unique<T>(config_, seed); }

 private:
  typename T::Config config_;
};

using Options = TaskConfig::Options;

constexpr config::Kind<Options> kTasks[] = {
    config::kind<Options, OptionsOf<AssociativeRecall, 5000>>("associative_recall"),
    config::kind<Options, OptionsOf<InductionHeads, 5000>>("induction_heads"),
    config::kind<Options, OptionsOf<Mqar, 100000>>("mqar"),
};

}  // namespace

void TaskConfig::fields(config::Fields& f) { config::bind_kind(f, kTasks, kind, options_, "which task"); }

std::unique_ptr<Task> TaskConfig::make(uint64_t seed) const {
  std::unique_ptr<Task> task = options_->make(seed);
  std::vector<int32_t> ids(static_cast<size_t>(task->length())), targets(ids.size());
  for (const Split split : {Split::train, Split::valid, Split::test}) task->example(split, 0, ids, targets);
  return task;
}

}  // namespace mara::tasks
