#include "train/trainer.h"

#include <chrono>

#include "core/log.h"
#include "kernels/kernels.h"
#include "train/progress.h"

namespace mara::train {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void add_to(const Tensor& total, const Tensor& value, bool first) {
  auto [k, stream] = kernels::on(total.device());
  k.copy(stream, {.x = value.view(), .y = total.view(), .accumulate = !first});
}

// Everything a step allocates must be dead when it ends: a tensor that outlives it would hold memory for ever.
void check_empty(const Pool& pool) {
  if (pool.live_blocks() == 0) return;
  std::string message = "internal error: the step pool is not empty after the step; held by";
  for (const Pool::Holder& holder : pool.holders()) {
    message += " " + holder.label + " (" + std::to_string(holder.bytes) + " bytes)";
  }
  throw std::logic_error(message);
}

}  // namespace

Trainer::Trainer(const Recipe& recipe, Device device)
    : recipe_(recipe),
      device_(device),
      task_(recipe.task.make(recipe.seed())),
      model_(recipe.model.options->make(recipe.model_setup())),
      arena_(*model_, device, recipe.precision.compute_dtype(), recipe.seed()),
      optimizer_(optim::make_optimizer(recipe.optim, arena_)),
      batches_(*task_, recipe.seed(), recipe.task.train_examples(), recipe.train.batch, device),
      step_pool_(device),
      scalars_(device, {}),
      report_(device, {}),
      random_{.seed = recipe.seed(), .step = &scalars_.pointer()->step},
      loss_sum_(Tensor::empty({1}, compute_dtype(recipe.precision.compute_dtype()), device)),
      count_(Tensor::empty_like(loss_sum_)) {}

Outcome Trainer::run(RunFolder& folder) {
  const TrainConfig& train = recipe_.train;
  const Clock::time_point start = Clock::now();
  Progress progress(train.steps);
  Outcome outcome;
  int64_t skipped_in_a_row = 0, good_evaluations = 0;
  while (outcome.steps < train.steps && !outcome.stopped_early) {
    const StepMetrics metrics = step(outcome.steps);
    ++outcome.steps;
    folder.write(metrics);
    progress.step(metrics);
    outcome.skipped += metrics.skipped;
    skipped_in_a_row = metrics.skipped ? skipped_in_a_row + 1 : 0;
    if (skipped_in_a_row >= train.max_skipped) {
      throw Failure(detail::join({"training: loss or gradient was not finite in ", skipped_in_a_row,
                                  " steps in a row, up to step ", metrics.step,
                                  "; lower optim.lr, lengthen schedule.warmup or lower optim.clip"}));
    }
    if (outcome.steps % recipe_.eval.every != 0 && outcome.steps != train.steps) continue;
    const eval::Evaluation valid = evaluate(tasks::Split::valid, recipe_.eval.examples);
    folder.write(outcome.steps, tasks::Split::valid, valid);
    progress.evaluated(outcome.steps, valid);
    if (!train.stop_when) continue;
    good_evaluations = valid.accuracy >= train.stop_when->accuracy ? good_evaluations + 1 : 0;
    outcome.stopped_early = good_evaluations >= train.stop_when->evaluations;
  }
  progress.finish();
  outcome.seconds = seconds_since(start);
  outcome.tokens_per_second =
      static_cast<double>(outcome.steps * train.batch * task_->length()) / outcome.seconds;
  if (recipe_.eval.test_examples > 0) {
    outcome.test = evaluate(tasks::Split::test, recipe_.eval.test_examples);
    folder.write(outcome.steps, tasks::Split::test, *outcome.test);
  }
  return outcome;
}

StepMetrics Trainer::step(int64_t step) {
  const ErrorContext frame("step " + std::to_string(step + 1));
  const Clock::time_point start = Clock::now();
  const double lr = recipe_.optim.lr * optim::schedule_factor(recipe_.schedule, step, recipe_.train.steps);
  scalars_.upload({.step = step, .lr = static_cast<float>(lr)});
  batches_.upload(step);
  {
    const PoolScope pool(step_pool_);
    const HostReadsForbidden no_reads;
    arena_.begin_step();
    random_.next_op = 0;
    for (int64_t micro = 0; micro * recipe_.train.micro_batch_size() < recipe_.train.batch; ++micro) micro_step(micro);
    finish_step();
  }
  check_empty(step_pool_);

  const kernels::StepReport report = report_.download();
  return {.step = step + 1,
          .loss = loss_sum_.item() / count_.item(),
          .lr = lr,
          .grad_norm = report.grad_norm,
          .skipped = report.skipped != 0,
          .tokens_per_second = static_cast<double>(recipe_.train.batch * task_->length()) / seconds_since(start),
          .memory = step_pool_.peak_bytes()};
}

void Trainer::micro_step(int64_t micro) {
  const int64_t size = recipe_.train.micro_batch_size();
  const models::Batch batch = batches_.part(micro * size, size);
  const RandomScope random(random_);
  Tape tape;
  ops::CrossEntropy loss;
  {
    const Recording recording(tape);
    loss = model_->loss(
        batch, {.ids = batch.ids, .training = true, .recompute_blocks = recipe_.train.recompute == "block"}, false);
  }
  tape.backward(loss.sum);
  add_to(loss_sum_, loss.sum, micro == 0);
  add_to(count_, loss.count, micro == 0);
}

void Trainer::finish_step() {
  arena_.finish_step();
  optimizer_->step(
      {.loss_sum = loss_sum_, .count = count_, .scalars = scalars_.pointer(), .report = report_.pointer()});
}

eval::Evaluation Trainer::evaluate(tasks::Split split, int64_t examples) {
  return eval::evaluate(*model_, *task_, split, examples, recipe_.eval_batch(), device_);
}

}  // namespace mara::train
