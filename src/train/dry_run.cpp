#include "train/dry_run.h"

#include "core/random.h"
#include "kernels/kernels.h"

namespace mara::train {

DryRun::DryRun(const Recipe& recipe)
    : recipe_(recipe),
      setup_(recipe.model_setup()),
      pool_(kMeta),
      model_(recipe.model.options->make(setup_)),
      arena_(*model_, kMeta, recipe.precision.compute_dtype(), recipe.seed()),
      optimizer_(optim::make_optimizer(recipe.optim, arena_)),
      loss_sum_(Tensor::empty({1}, compute_dtype(recipe.precision.compute_dtype()), kMeta)),
      count_(Tensor::empty_like(loss_sum_)) {}

ops::Loss DryRun::loss(int64_t rows, bool training) {
  const models::Batch batch = models::Batch::empty(rows, setup_, kMeta);
  return model_->loss(
      batch,
      {.ids = batch.ids, .training = training, .recompute_blocks = training && recipe_.train.recompute == "block"},
      !training);
}

int64_t DryRun::micro_step(bool first) {
  const PoolScope pool(pool_);
  RandomStream random{.seed = recipe_.seed()};
  const RandomScope scope(random);
  const int64_t rows = recipe_.train.micro_batch_size();
  Tape tape;
  ops::Loss sum;
  {
    const Recording recording(tape);
    sum = loss(rows, true);
  }
  tape.backward(sum.sum);
  auto [k, stream] = kernels::on(kMeta);
  k.copy(stream, {.x = sum.sum.view(), .y = loss_sum_.view(), .accumulate = !first});
  k.copy(stream, {.x = sum.count.view(), .y = count_.view(), .accumulate = !first});
  return rows * setup_.length;
}

void DryRun::step() {
  arena_.begin_step();
  for (int64_t done = 0; done < recipe_.train.batch; done += recipe_.train.micro_batch_size()) micro_step(done == 0);
  arena_.finish_step();
  optimizer_->step({.loss_sum = loss_sum_, .count = count_});
}

void DryRun::evaluate() {
  const PoolScope pool(pool_);
  loss(recipe_.eval_batch(), false);
}

}  // namespace mara::train
