#include "eval/evaluate.h"

#include <numeric>

#include "devices.h"
#include "eval/examples.h"
#include "kernels/loss.h"
#include "nn/parameter_arena.h"
#include "train/recipes.h"

namespace mara::eval {
namespace {

/// Knows the answers but for every third scored position it sees; each costs 0.5 nats.
struct Oracle : models::Model {
  ops::Loss loss(const models::Batch& batch, const nn::Context& context, bool predictions) override {
    EXPECT_TRUE(predictions);
    EXPECT_FALSE(context.training);
    EXPECT_EQ(Recording::current(), nullptr);
    std::vector<int32_t> answers = batch.targets.to_host_i32();
    double scored = 0;
    for (int32_t& answer : answers) {
      if (answer == kernels::kIgnoredTarget) {
        answer = 7;  // what is predicted where nothing is scored must not count
      } else {
        ++scored;
        if (++seen_ % 3 == 0) ++answer;
      }
    }
    batches_.push_back(batch.ids.to_host_i32());
    const auto number = [](double value) { return Tensor::from(std::vector<double>{value}, {1}, Dtype::f32, kCpu); };
    return {number(0.5 * scored), number(scored), {}, Tensor::from(answers, {batch.targets.numel()}, kCpu)};
  }
  Tensor logits(const Tensor&, const nn::Context&) override { return {}; }
  int64_t vocabulary() const override { return 0; }

  int64_t seen_ = 0;
  std::vector<std::vector<int32_t>> batches_;
};

TEST(Evaluate, CountsScoredPositions) {
  const std::shared_ptr<const tasks::Task> task = train::test_recipe("mqar").task->make(1);  // 3 answers per example
  Oracle oracle;
  const Evaluation e = evaluate(oracle, task_examples(*task, tasks::Split::valid, 10), 4, kCpu);
  EXPECT_EQ(e.examples, 10);
  EXPECT_EQ(e.scored, 30);
  EXPECT_DOUBLE_EQ(e.accuracy.value(), 20.0 / 30);
  EXPECT_EQ(e.exact, 0);  // of every example one of three is wrong
  EXPECT_DOUBLE_EQ(e.loss, 0.5);
  ASSERT_EQ(oracle.batches_.size(), 3u);  // 4 + 4 + 2
  EXPECT_EQ(oracle.batches_.back().size(), 2u * 16);
}

TEST(Evaluate, CountsExamplesThatAreRightThroughout) {
  const auto exact = [](const char* options, int64_t count) {
    tasks::TaskConfig config;
    config::Document::parse(options, "task.yaml").read(config);
    const std::shared_ptr<const tasks::Task> task = config.make(1);
    Oracle oracle;
    return evaluate(oracle, task_examples(*task, tasks::Split::valid, count), 4, kCpu).exact;
  };
  EXPECT_DOUBLE_EQ(exact("{kind: majority}", 10), 7.0 / 10);  // an answer each, numbers 3, 6 and 9 are wrong
  EXPECT_DOUBLE_EQ(exact("{kind: copy, vocab: 4, length: 2}", 9), 3.0 / 9);  // two each: 3, 6, 9, 12, 15 and 18
}

TEST(Evaluate, TakesTheFirstExamplesOfTheSplit) {
  const std::shared_ptr<const tasks::Task> task = train::test_recipe("mqar").task->make(1);
  for (const tasks::Split split : {tasks::Split::valid, tasks::Split::test}) {
    Oracle oracle;
    evaluate(oracle, task_examples(*task, split, 5), 5, kCpu);
    std::vector<int32_t> expected(5 * 16), targets(16);
    for (int64_t i = 0; i < 5; ++i) task->example(split, i, {std::span(expected).subspan(i * 16, 16), targets});
    EXPECT_EQ(oracle.batches_.at(0), expected);
  }
}

TEST(Evaluate, DoesNotDependOnTheBatch) {
  const train::Recipe recipe = train::test_recipe("hyena");
  const std::shared_ptr<const tasks::Task> task = recipe.task->make(1);
  const std::unique_ptr<models::Model> model = recipe.model.options->make(recipe.model_setup());
  const nn::ParameterArena arena(*model, kCpu, Dtype::f32, 1);
  const auto run = [&](int64_t batch) {
    return evaluate(*model, task_examples(*task, tasks::Split::test, 40), batch, kCpu);
  };
  const Evaluation whole = run(40), parts = run(7);
  EXPECT_NEAR(parts.loss, whole.loss, 1e-5);
  EXPECT_EQ(parts.accuracy, whole.accuracy);
  EXPECT_EQ(parts.scored, whole.scored);
  EXPECT_NE(evaluate(*model, task_examples(*task, tasks::Split::valid, 40), 40, kCpu).loss, whole.loss);  // control
}

TEST(Evaluate, BreakdownAddsUp) {
  const train::Recipe recipe = train::test_recipe("mqar");
  const std::shared_ptr<const tasks::Task> task = recipe.task->make(1);
  const std::unique_ptr<models::Model> model = recipe.model.options->make(recipe.model_setup());
  const nn::ParameterArena arena(*model, kCpu, Dtype::f32, 1);
  const Examples examples = task_examples(*task, tasks::Split::test, 40);
  Breakdown breakdown;
  const Evaluation e = evaluate(*model, examples, 7, kCpu, &breakdown);
  const Evaluation plain = evaluate(*model, examples, 7, kCpu);
  EXPECT_EQ(e.loss, plain.loss);
  EXPECT_EQ(e.accuracy, plain.accuracy);
  for (const Groups& groups : {breakdown.by_position, breakdown.by_distance}) {
    Group all;
    for (const auto& [key, group] : groups) all.add(group);
    EXPECT_EQ(all.scored, e.scored);
    EXPECT_EQ(all.accuracy(), e.accuracy);
    EXPECT_NEAR(all.loss(), e.loss, 1e-5);
    EXPECT_GT(groups.size(), 3u);
  }
  // Every key of a group is a place where something is scored, at its distance.
  Groups positions, distances;
  std::vector<int32_t> ids(16), targets(16);
  for (int64_t i = 0; i < 40; ++i) {
    task->example(tasks::Split::test, i, {ids, targets});
    for (int64_t t = 0; t < 16; ++t) {
      if (targets[static_cast<size_t>(t)] == kernels::kIgnoredTarget) continue;
      ++positions[t].scored;
      ++distances[task->distance(ids, t)].scored;
    }
  }
  const auto counts = [](const Groups& groups) {
    std::map<int64_t, int64_t> out;
    for (const auto& [key, group] : groups) out[key] = group.scored;
    return out;
  };
  EXPECT_EQ(counts(breakdown.by_position), counts(positions));
  EXPECT_EQ(counts(breakdown.by_distance), counts(distances));
}

TEST(Evaluate, NothingScoredIsNotADivisionByZero) {
  const std::shared_ptr<const tasks::Task> task = train::test_recipe("mqar").task->make(1);
  Oracle oracle;
  const Evaluation e = evaluate(oracle, task_examples(*task, tasks::Split::valid, 0), 4, kCpu);
  EXPECT_EQ(e.scored, 0);
  EXPECT_EQ(e.accuracy, 0);
  EXPECT_EQ(e.loss, 0);
}

/// Predicts 0 for every value.
struct Zero : models::Model {
  ops::Loss loss(const models::Batch& batch, const nn::Context&, bool) override {
    EXPECT_FALSE(batch.ids.defined());
    EXPECT_EQ(batch.inputs.shape(), (Shape{batch.targets.size(0), 13, 3}));
    const Shape flat{batch.targets.numel()};
    return ops::squared_error(Tensor::from(std::vector<double>(static_cast<size_t>(flat[0])), flat, Dtype::f32, kCpu),
                              batch.values.reshape(flat), batch.targets.reshape(flat));
  }
};

TEST(Evaluate, ValuesAgainstTheReference) {
  const std::shared_ptr<const tasks::Task> task = train::test_recipe("in_context_functions").task->make(1);
  Zero model;
  Breakdown breakdown;
  const Evaluation e = evaluate(model, task_examples(*task, tasks::Split::test, 400), 30, kCpu, &breakdown);
  EXPECT_EQ(e.scored, 400 * 7);
  EXPECT_NEAR(e.loss, 1, 0.15);
  EXPECT_FALSE(e.accuracy.has_value());
  ASSERT_TRUE(e.reference.has_value());
  EXPECT_NEAR(*e.reference, (1 + 0.5) / 7, 0.05);  // two dimensions: at x_0 1, at x_1 1/2, then nothing
  EXPECT_EQ(quality_text({.loss = 0.5, .reference = 0.25}), "squared error 0.5000, 0.2500 is possible");
  EXPECT_TRUE(breakdown.values);
  EXPECT_EQ(breakdown.by_position.size(), 7u);
  EXPECT_TRUE(breakdown.by_distance.empty());
  EXPECT_NEAR(breakdown.by_position.at(0).reference(), breakdown.by_position.at(0).loss(), 1e-5);
  EXPECT_LT(breakdown.by_position.at(12).reference(), 1e-5);
  EXPECT_GT(breakdown.by_position.at(12).loss(), 0.5);
}

TEST(Evaluate, OneClassPerExample) {
  const std::shared_ptr<const tasks::Task> task = train::test_recipe("listops").task->make(1);
  Oracle oracle;
  const Examples examples = task_examples(*task, tasks::Split::valid, 9);
  EXPECT_FALSE(examples.distance);
  const Evaluation e = evaluate(oracle, examples, 4, kCpu);
  EXPECT_EQ(e.scored, 9);
  EXPECT_DOUBLE_EQ(e.accuracy.value(), 6.0 / 9);
  EXPECT_EQ(oracle.batches_[0].size(), 4u * 16);
}

}  // namespace
}  // namespace mara::eval
