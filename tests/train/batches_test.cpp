#include "train/batches.h"

#include <set>

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
  const int64_t length = a.source().length();
  std::multiset<std::vector<int32_t>> epoch;
  for (int64_t step = 0; step < 3; ++step) {
    const std::vector<int32_t> batch = ids(a, step);
    for (auto row = batch.begin(); row != batch.end(); row += length) epoch.insert({row, row + length});
  }
  EXPECT_EQ(ids(a, 1), ids(b, 1));
  EXPECT_NE(ids(a, 1), ids(b, 2));
  EXPECT_NE(ids(a, 1), ids(other, 1));
  // One epoch is every example once.
  const std::unique_ptr<tasks::Task> task = test_recipe("hyena").task->make(1);
  std::multiset<std::vector<int32_t>> all;
  for (int64_t i = 0; i < 12; ++i) {
    std::vector<int32_t> example(static_cast<size_t>(length)), targets(example);
    task->example(tasks::Split::train, i, example, targets);
    all.insert(example);
  }
  EXPECT_EQ(epoch, all);
}

TEST(Batches, PartsAreViews) {
  Batches from = batches({}, 6);
  from.upload(0);
  const models::Batch whole = from.part(0, 6), part = from.part(2, 3);
  EXPECT_EQ(part.ids.shape(), (Shape{3, from.source().length()}));
  EXPECT_EQ(part.targets.view().ptr<int32_t>(), whole.targets.view().ptr<int32_t>() + 2 * from.source().length());
}

}  // namespace
}  // namespace mara::train
