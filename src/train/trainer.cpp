#include "train/trainer.h"

#include <chrono>

#include "core/log.h"
#include "io/hash.h"
#include "kernels/kernels.h"
#include "train/interrupts.h"
#include "train/progress.h"
#include "train/resume.h"
#include "train/samples.h"
#include "train/saver.h"

namespace mara::train {
namespace {

using Clock = std::chrono::steady_clock;

// Steps whose metrics are not read yet while the next one is prepared. A CPU has done a step when it has enqueued it.
int64_t steps_ahead(Device device) { return device.type == DeviceType::cpu ? 0 : 1; }

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void add_to(const Tensor& total, const Tensor& value, bool first) {
  auto [k, stream] = kernels::on(total.device());
  k.copy(stream, {.x = value.view(), .y = total.view(), .accumulate = !first});
}

// Everything a step allocates must be dead when it ends: a tensor that outlives it would hold memory for ever.
void check_empty(const Pool& pool) {
  if (pool.live_blocks() == 0) return;
  throw std::logic_error("internal error: the step pool is not empty after the step; held by " +
                         holders_text(pool.holders(), 5));
}

}  // namespace

Trainer::Trainer(const Recipe& recipe, Device device)
    : recipe_((recipe.require_device(device), recipe)),
      device_(device),
      step_pool_(device),
      model_(recipe.model.options->make(recipe.model_setup())),
      arena_(*model_, device, recipe.precision.compute_dtype(), recipe.seed()),
      optimizer_(optim::make_optimizer(recipe.optim, arena_)),
      batches_(make_batch_source(recipe), recipe.train.batch, device),
      scalars_(device),
      report_(device),
      random_{.seed = recipe.seed(), .step = &scalars_.pointer()->step},
      loss_sum_(Tensor::empty({1}, compute_dtype(recipe.precision.compute_dtype()), device)),
      count_(Tensor::empty_like(loss_sum_)),
      captured_(step_pool_, recipe.train.capture == "step") {}

Outcome Trainer::run(RunFolder& folder) {
  start_ = Clock::now() - std::chrono::round<Clock::duration>(std::chrono::duration<double>(folder.seconds()));
  const int64_t first = position_.step;
  if (recipe_.log.tensorboard) folder.write_events(first + 1);
  const int signal = train(folder);
  Outcome outcome{.steps = position_.step, .skipped = position_.skipped, .seconds = seconds_since(start_)};
  outcome.tokens_per_second =
      static_cast<double>((position_.step - first) * tokens_per_step()) / (outcome.seconds - folder.seconds());
  outcome.stopped_early = good_enough();
  outcome.signal = signal;
  if (signal == 0 && recipe_.eval.test_examples > 0) {
    const tasks::Split split = batches_.source().last_split();
    outcome.test = evaluate(split, recipe_.eval.test_examples);
    folder.write(position_.step, split, *outcome.test);
    if (recipe_.data) write_samples(folder, split);
  }
  if (signal == 0) folder.write(outcome);
  return outcome;
}

void Trainer::write_samples(RunFolder& folder, tasks::Split split) const {
  try {
    folder.write_samples(sample_texts(recipe_, *model_, batches_.source().examples(split, 0), device_));
  } catch (const Failure&) {
    throw;
  } catch (const Error& error) {
    log_info(std::string("no samples are written: ") + error.what());
  }
}

int Trainer::train(RunFolder& folder) {
  Progress progress(recipe_.train.steps, position_.step);
  Saver saver(recipe_, folder, [this](StateVisitor& visitor) { state(visitor); });
  const Interrupts interrupts;
  const auto account = [&](int64_t ahead) {  // for all steps but the last `ahead`
    while (collected_ < position_.step - ahead) {
      StepMetrics metrics = collect();
      metrics.seconds = seconds_since(start_);
      folder.write(metrics);
      progress.step(metrics);
      count(metrics);
    }
  };
  last_end_ = Clock::now();
  while (!finished() && interrupts.signal() == 0) {
    enqueue(position_.step);
    const bool evaluates = position_.step % recipe_.eval.every == 0 || position_.step == recipe_.train.steps;
    const bool saves = saver.due(position_.step);
    account(evaluates || saves ? 0 : steps_ahead(device_));
    if (evaluates) {
      const eval::Evaluation valid = evaluate(tasks::Split::valid, recipe_.eval.examples);
      folder.write(position_.step, tasks::Split::valid, valid);
      progress.evaluated(position_.step, valid);
      saver.evaluated(position_.step, valid);
      count(valid);
    }
    if (saves) saver.step(position_.step);
    if (evaluates || saves) last_end_ = Clock::now();
  }
  account(0);
  progress.finish();
  saver.finish(position_.step);
  return interrupts.signal();
}

void Trainer::count(const StepMetrics& metrics) {
  position_.skipped += metrics.skipped;
  position_.skipped_in_a_row = metrics.skipped ? position_.skipped_in_a_row + 1 : 0;
  if (position_.skipped_in_a_row < recipe_.train.max_skipped) return;
  throw Failure(
      detail::join({"training: loss or gradient was not finite, or nothing was scored, in ", position_.skipped_in_a_row,
                    " steps in a row, up to step ", metrics.step,
                    "; lower optim.lr, lengthen schedule.warmup or set optim.clip (now ", recipe_.optim.clip, ")"}));
}

void Trainer::count(const eval::Evaluation& valid) {
  if (!recipe_.train.stop_when) return;
  const bool good = valid.accuracy >= recipe_.train.stop_when->accuracy || valid.loss <= recipe_.train.stop_when->loss;
  position_.good_evaluations = good ? position_.good_evaluations + 1 : 0;
}

bool Trainer::good_enough() const {
  return recipe_.train.stop_when && position_.good_evaluations >= recipe_.train.stop_when->evaluations;
}

void Position::state(StateVisitor& visitor) {
  visitor.integer("step", step);
  visitor.integer("skipped", skipped);
  visitor.integer("skipped_in_a_row", skipped_in_a_row);
  visitor.integer("good_evaluations", good_evaluations);
}

// The batches need no more than the step.
void run_state(StateVisitor& visitor, const Recipe& recipe, uint64_t data_hash, const models::Model& model,
               Position& position, nn::ParameterArena& arena, optim::Optimizer& optimizer) {
  visitor.same("seed", std::to_string(recipe.seed()));
  visitor.same("data_hash", io::hash_text(data_hash));
  visitor.same("tied", model.tied());
  position.state(visitor);
  arena.state(visitor);
  optimizer.state(visitor);
}

void Trainer::state(StateVisitor& visitor) {
  run_state(visitor, recipe_, batches_.source().data_hash(), *model_, position_, arena_, *optimizer_);
}

void Trainer::resume(const checkpoint::Checkpoint& from) {
  check_same_run(recipe_, from);
  from.load([this](StateVisitor& visitor) { state(visitor); });
  collected_ = position_.step;
}

StepMetrics Trainer::step(int64_t step) {
  collected_ = step;
  last_end_ = Clock::now();
  enqueue(step);
  return collect();
}

double Trainer::lr(int64_t step) const {
  return recipe_.optim.lr * optim::schedule_factor(recipe_.schedule, step, recipe_.train.steps);
}

void Trainer::enqueue(int64_t step) {
  const ErrorContext frame("step " + std::to_string(step + 1));
  scalars_.upload({.step = step, .lr = static_cast<float>(lr(step))});
  batches_.upload(step);
  captured_.run([this] { body(); });
  check_empty(step_pool_);
  report_.fetch();
  position_.step = step + 1;
}

void Trainer::body() {
  const PoolScope pool(step_pool_);
  const HostReadsForbidden no_reads;
  arena_.begin_step();
  random_.next_op = 0;
  for (int64_t micro = 0; micro * recipe_.train.micro_batch_size() < recipe_.train.batch; ++micro) micro_step(micro);
  finish_step();
}

StepMetrics Trainer::collect() {
  const kernels::StepReport report = report_.collect();
  const double seconds = seconds_since(std::exchange(last_end_, Clock::now()));
  const int64_t step = collected_++;
  return {.step = step + 1,
          .loss = report.loss,
          .lr = lr(step),
          .grad_norm = report.grad_norm,
          .skipped = report.skipped != 0,
          .tokens_per_second = static_cast<double>(tokens_per_step()) / seconds,
          .memory = step_pool_.peak_bytes()};
}

void Trainer::micro_step(int64_t micro) {
  const int64_t size = recipe_.train.micro_batch_size();
  const models::Batch batch = batches_.part(micro * size, size);
  const RandomScope random(random_);
  Tape tape;
  ops::Loss loss;
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
  const ErrorContext frame("an evaluation");
  return eval::evaluate(*model_, batches_.source().examples(split, examples), recipe_.eval_batch(), device_);
}

}  // namespace mara::train
