// Every task, one line each.

#include <vector>

#include "config/kinds.h"
#include "tasks/arithmetic.h"
#include "tasks/associative_recall.h"
#include "tasks/compression.h"
#include "tasks/copy.h"
#include "tasks/counting.h"
#include "tasks/fuzzy_recall.h"
#include "tasks/in_context_functions.h"
#include "tasks/in_context_recall.h"
#include "tasks/induction_heads.h"
#include "tasks/listops.h"
#include "tasks/majority.h"
#include "tasks/memorization.h"
#include "tasks/mqar.h"
#include "tasks/pixels.h"
#include "tasks/rows.h"
#include "tasks/selective_copying.h"
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
    config::kind<Options, OptionsOf<Arithmetic, 5000>>("arithmetic"),
    config::kind<Options, OptionsOf<AssociativeRecall, 5000>>("associative_recall"),
    config::kind<Options, OptionsOf<Compression, 12800>>("compression"),
    config::kind<Options, OptionsOf<Copy, 5000>>("copy"),
    config::kind<Options, OptionsOf<Counting, 5000>>("counting"),
    config::kind<Options, OptionsOf<FuzzyRecall, 12800>>("fuzzy_recall"),
    config::kind<Options, OptionsOf<InContextFunctions, 0>>("in_context_functions"),
    config::kind<Options, OptionsOf<InContextRecall, 12800>>("in_context_recall"),
    config::kind<Options, OptionsOf<InductionHeads, 5000>>("induction_heads"),
    config::kind<Options, OptionsOf<Listops, 96000>>("listops"),
    config::kind<Options, OptionsOf<Majority, 5000>>("majority"),
    config::kind<Options, OptionsOf<Memorization, 256>>("memorization"),
    config::kind<Options, OptionsOf<Mqar, 100000>>("mqar"),
    config::kind<Options, OptionsOf<Pixels, 5000>>("pixels"),
    config::kind<Options, OptionsOf<SelectiveCopying, 12800>>("selective_copying"),
};

}  // namespace

void TaskConfig::fields(config::Fields& f) { config::bind_kind(f, kTasks, kind, options_, "which task"); }

std::shared_ptr<const Task> TaskConfig::make(uint64_t seed) const {
  const std::string from = config::to_yaml(*this) + std::to_string(seed);
  if (last_.from == from) return last_.task;
  const std::shared_ptr<const Task> task = options_->make(seed);
  Rows rows(1, task->form());
  for (const Split split : {Split::train, Split::valid, Split::test}) task->example(split, 0, rows[0]);
  last_ = {from, task};
  return task;
}

}  // namespace mara::tasks
