#include "train/batch_source.h"

#include <optional>

#include "core/parallel.h"
#include "data/prefetcher.h"
#include "tasks/example_order.h"
#include "tasks/rows.h"

namespace mara::train {
namespace {

class TaskSource final : public BatchSource {
 public:
  explicit TaskSource(const Recipe& recipe)
      : task_(recipe.task->make(recipe.seed())),
        seed_(recipe.seed()),
        examples_(recipe.task->train_examples()),
        batch_(recipe.train.batch),
        rows_(batch_, task_->form()) {}

  ExampleForm form() const override { return task_->form(); }

  Rows batch(int64_t step) override {
    parallel_chunks(batch_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        task_->example(tasks::Split::train, tasks::example_at(seed_, step * batch_ + i, examples_), rows_[i]);
      }
    });
    return {rows_.ids, rows_.targets, rows_.inputs, rows_.values};
  }
  eval::Examples examples(tasks::Split split, int64_t count) const override {
    return eval::task_examples(*task_, split, count);
  }
  uint64_t data_hash() const override { return task_->data_hash(); }

 private:
  std::shared_ptr<const tasks::Task> task_;
  uint64_t seed_;
  int64_t examples_, batch_;
  tasks::Rows rows_;
};

class ShardSource final : public BatchSource {
 public:
  explicit ShardSource(const Recipe& recipe)
      : tokenizer_(data::make_tokenizer(recipe.data->tokenizer)),
        stream_(recipe.data->stream(recipe.seed(), recipe.train.batch)),
        valid_(recipe.data->valid, *tokenizer_, data::DataConfig::option_of("valid")),
        prefetcher_([this](int64_t step, std::span<int32_t> ids,
                           std::span<int32_t> targets) { stream_.fill(step, 0, 1, ids, targets); },
                    recipe.train.batch * stream_.length()) {
    if (!recipe.data->test.empty()) test_.emplace(recipe.data->test, *tokenizer_, data::DataConfig::option_of("test"));
    examples(tasks::Split::valid, 1);  // too short a text is seen now rather than at the first evaluation
    examples(last_split(), 1);
  }

  ExampleForm form() const override { return ExampleForm::tokens(tokenizer_->vocabulary(), stream_.length()); }

  Rows batch(int64_t step) override {
    const data::Prefetcher::Slot& slot = prefetcher_.take(step);
    return {slot.ids, slot.targets};
  }
  eval::Examples examples(tasks::Split split, int64_t count) const override {
    return eval::text_examples(split == tasks::Split::test ? *test_ : valid_, *tokenizer_,
                               {.length = stream_.length(), .count = count});
  }
  tasks::Split last_split() const override { return test_ ? tasks::Split::test : tasks::Split::valid; }
  uint64_t data_hash() const override { return stream_.hash(); }

 private:
  std::unique_ptr<data::Tokenizer> tokenizer_;
  data::TokenStream stream_;
  data::TokenSource valid_;
  std::optional<data::TokenSource> test_;
  data::Prefetcher prefetcher_;  // last: its thread uses the stream
};

}  // namespace

std::unique_ptr<BatchSource> make_batch_source(const Recipe& recipe) {
  if (recipe.data) return std::make_unique<ShardSource>(recipe);
  return std::make_unique<TaskSource>(recipe);
}

}  // namespace mara::train
