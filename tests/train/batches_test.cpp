#include "train/batches.h"

#include <set>

#include "tasks/rows.h"
#include "train/recipes.h"

namespace mara::train {
namespace {

Batches batches(const std::vector<std::string>& overrides, int64_t batch) {
  std::vector<std::string> all = overrides;
  all.push_back("train.batch=" + std::to_string(batch));
  return Batches(make_batch_source(test_recipe("hyena", all)), batch, kCpu);
}

TEST(Batches, AreAFunctionOfSeedAndStep) {
  Batches a = batches({"task.examples=12"}, 4), b = batches({"task.examples=12"}, 4),
          other = batches({"task.examples=12", "run.seed=2"}, 4);
  const auto ids = [](Batches& from, int64_t step) {
    from.upload(step);
    return from.part(0, 4).ids.to_host_i32();
  };
  const int64_t length = a.source().form().length;
  std::multiset<std::vector<int32_t>> epoch;
  for (int64_t step = 0; step < 3; ++step) {
    const std::vector<int32_t> batch = ids(a, step);
    for (auto row = batch.begin(); row != batch.end(); row += length) epoch.insert({row, row + length});
  }
  EXPECT_EQ(ids(a, 1), ids(b, 1));
  EXPECT_NE(ids(a, 1), ids(b, 2));
  EXPECT_NE(ids(a, 1), ids(other, 1));
  // One epoch is every example once.
  const std::shared_ptr<const tasks::Task> task = test_recipe("hyena").task->make(1);
  std::multiset<std::vector<int32_t>> all;
  for (int64_t i = 0; i < 12; ++i) {
    std::vector<int32_t> example(static_cast<size_t>(length)), targets(example);
    task->example(tasks::Split::train, i, {example, targets});
    all.insert(example);
  }
  EXPECT_EQ(epoch, all);
}

TEST(Batches, PartsAreViews) {
  Batches from = batches({}, 6);
  from.upload(0);
  const models::Batch whole = from.part(0, 6), part = from.part(2, 3);
  EXPECT_EQ(part.ids.shape(), (Shape{3, from.source().form().length}));
  EXPECT_EQ(part.targets.view().ptr<int32_t>(), whole.targets.view().ptr<int32_t>() + 2 * from.source().form().length);
}

TEST(Batches, RealInputsAndValues) {
  const Recipe recipe = test_recipe("in_context_functions");
  Batches from(make_batch_source(recipe), 16, kCpu);
  from.upload(0);
  const models::Batch part = from.part(4, 3);
  EXPECT_FALSE(part.ids.defined());
  EXPECT_EQ(part.inputs.shape(), (Shape{3, 13, 3}));
  EXPECT_EQ(part.values.shape(), (Shape{3, 13}));
  const std::shared_ptr<const tasks::Task> task = recipe.task->make(recipe.seed());
  tasks::Rows row(1, task->form());
  std::multiset<std::vector<double>> all, seen;  // one epoch in another order
  for (int64_t i = 0; i < 16; ++i) {
    task->example(tasks::Split::train, i, row[0]);
    std::vector<double> numbers(row.inputs.begin(), row.inputs.end());
    numbers.insert(numbers.end(), row.values.begin(), row.values.end());
    numbers.insert(numbers.end(), row.targets.begin(), row.targets.end());
    all.insert(numbers);
    const models::Batch one = from.part(i, 1);
    numbers = one.inputs.to_host();
    const std::vector<double> values = one.values.to_host();
    const std::vector<int32_t> targets = one.targets.to_host_i32();
    numbers.insert(numbers.end(), values.begin(), values.end());
    numbers.insert(numbers.end(), targets.begin(), targets.end());
    seen.insert(numbers);
  }
  EXPECT_EQ(seen, all);
}

TEST(Batches, OneTargetPerExample) {
  Batches from(make_batch_source(test_recipe("listops")), 16, kCpu);
  from.upload(0);
  const models::Batch whole = from.part(0, 16);
  EXPECT_EQ(whole.ids.shape(), (Shape{16, 16}));
  EXPECT_EQ(whole.targets.shape(), (Shape{16, 1}));
  EXPECT_FALSE(whole.inputs.defined() || whole.values.defined());
}

}  // namespace
}  // namespace mara::train
