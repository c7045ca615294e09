#include "train/trainer.h"

#include <cstring>

#include "core/parallel.h"
#include "devices.h"
#include "kernels/loss.h"
#include "train/recipes.h"

namespace mara::train {
namespace {

std::vector<double> weights(const Trainer& trainer) { return trainer.arena().master().to_host(); }

std::vector<double> weights_after(const Recipe& recipe, int64_t steps) {
  Trainer trainer(recipe, kCpu);
  for (int64_t step = 0; step < steps; ++step) EXPECT_FALSE(trainer.step(step).skipped);
  return weights(trainer);
}

TEST(Trainer, OverfitsAFewExamples) {
  for (const std::string name : {"hyena", "attention_rotary"}) {
    const Recipe recipe = test_recipe(
        name, {"task.examples=4", "train.batch=4", "train.steps=150", "optim.lr=0.02", "optim.weight_decay=0"});
    Trainer trainer(recipe, kCpu);
    const double first = trainer.step(0).loss;
    double last = 0;
    for (int64_t step = 1; step < recipe.train.steps; ++step) last = trainer.step(step).loss;
    EXPECT_GT(first, 2) << name;  // ln 10 = 2.3
    EXPECT_LT(last, 0.1) << name;
  }
}

TEST(Trainer, SameBitsForAnyNumberOfThreads) {
  const int threads = thread_count();
  const auto on_one_and_two = [](const Recipe& recipe, int64_t steps) {
    set_thread_count(1);
    const std::vector<double> one = weights_after(recipe, steps);
    set_thread_count(2);
    EXPECT_EQ(weights_after(recipe, steps), one) << recipe.run.name;
    return one;
  };
  for (const std::filesystem::path& file : recipe_files("tests")) {
    const Recipe recipe = Recipe::load(file.string());
    const std::vector<double> trained = on_one_and_two(recipe, recipe.train.steps);
    // Wide enough that kernels do cut their work into several pieces.
    on_one_and_two(Recipe::load(file.string(), {"model.width=64", "train.batch=48"}), 2);
    set_thread_count(1);
    EXPECT_NE(weights_after(Recipe::load(file.string(), {"run.seed=2"}), 5), weights_after(recipe, 5));
    EXPECT_NE(trained, weights_after(recipe, recipe.train.steps - 1));  // control: one step is seen
  }
  set_thread_count(threads);
}

/// A model around a recipe's own one, put in its place.
class Wrapper : public models::Model {
 public:
  explicit Wrapper(std::unique_ptr<models::Model> inner) : inner_(child("inner", std::move(inner))) {}
  ops::Loss loss(const models::Batch& batch, const nn::Context& context, bool predictions) override {
    return inner_.loss(batch, context, predictions);
  }
  Tensor logits(const Tensor& ids, const nn::Context& context) override { return inner_.logits(ids, context); }
  int64_t vocabulary() const override { return inner_.vocabulary(); }

 protected:
  models::Model& inner_;
};

template <class W>
Recipe wrapped(Recipe recipe) {
  struct Options : models::ModelOptions {
    std::shared_ptr<models::ModelOptions> inner;
    void fields(config::Fields& f, const models::ModelSetup& setup) override { inner->fields(f, setup); }
    std::unique_ptr<models::Model> make(const models::ModelSetup& setup) const override {
      return std::make_unique<W>(inner->make(setup));
    }
  };
  auto options = std::make_shared<Options>();
  options->inner = recipe.model.options;
  recipe.model.options = options;
  return recipe;
}

/// Scores a number of positions per row that depends on its first token, so that micro-batches differ.
struct Uneven : Wrapper {
  using Wrapper::Wrapper;
  ops::Loss loss(const models::Batch& batch, const nn::Context& context, bool predictions) override {
    const int64_t rows = batch.ids.size(0), length = batch.ids.size(1);
    const auto* ids = batch.ids.view().ptr<int32_t>();
    std::vector<int32_t> targets(batch.targets.view().ptr<int32_t>(),
                                 batch.targets.view().ptr<int32_t>() + batch.targets.numel());
    for (int64_t b = 0; b < rows; ++b) {
      const int64_t ignored = ids[b * length] % 3 == 0 ? length : ids[b * length];
      std::fill_n(targets.begin() + b * length, ignored, kernels::kIgnoredTarget);
    }
    return inner_.loss({batch.ids, Tensor::from(targets, batch.targets.shape(), kCpu)}, context, predictions);
  }
};

TEST(Trainer, MicroBatchesAreOneBatch) {
  const auto run = [](const std::string& micro, bool uneven) {
    Recipe recipe = test_recipe(
        "hyena", {"train.micro_batch=" + micro, "precision.compute=f64", "model.width=8", "train.batch=12"});
    if (uneven) recipe = wrapped<Uneven>(recipe);
    Trainer trainer(recipe, kCpu);
    std::vector<double> metrics;
    for (int64_t step = 0; step < 5; ++step) {
      const StepMetrics m = trainer.step(step);
      metrics.insert(metrics.end(), {m.loss, m.grad_norm});
    }
    return std::pair{weights(trainer), metrics};
  };
  for (const bool uneven : {false, true}) {
    const auto [whole, whole_metrics] = run("12", uneven);
    for (const std::string micro : {"4", "1"}) {
      const auto [parts, parts_metrics] = run(micro, uneven);
      EXPECT_LT(relative_error(parts, whole), 1e-9);
      EXPECT_LT(relative_error(parts_metrics, whole_metrics), 1e-10);
    }
  }
  EXPECT_GT(relative_error(run("12", true).first, run("12", false).first), 1e-3);  // control
}

TEST(Trainer, StopsWhenGoodEnough) {
  const TemporaryFolder folder;
  const auto run = [&](const std::string& accuracy, const std::string& name) {
    const Recipe recipe =
        test_recipe("mqar", {"train.steps=20", "eval.every=4", "eval.examples=8", "train.stop_when.evaluations=3",
                             "train.stop_when.accuracy=" + accuracy});
    RunFolder run_folder(folder / name, config::to_yaml(recipe), false);
    return Trainer(recipe, kCpu).run(run_folder);
  };
  const Outcome stopped = run("0", "stopped"), whole = run("1", "whole");
  EXPECT_TRUE(stopped.stopped_early);
  EXPECT_EQ(stopped.steps, 12);
  EXPECT_EQ(stopped.test->examples, 64);
  EXPECT_FALSE(whole.stopped_early);
  EXPECT_EQ(whole.steps, 20);
}

TEST(Trainer, RealNumbersHaveNoAccuracy) {
  const auto complaint = [](const std::string& recipe, const std::vector<std::string>& overrides) -> std::string {
    try {
      test_recipe(recipe, overrides);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string message = "this task predicts real numbers, which have no accuracy";
  const std::vector<std::string> stop = {"train.stop_when.accuracy=0.9"}, best = {"checkpoint.best=accuracy"};
  EXPECT_NE(complaint("in_context_functions", stop).find("stop_when: " + message), std::string::npos);
  EXPECT_NE(complaint("in_context_functions", best).find("best: " + message), std::string::npos);
  EXPECT_EQ(complaint("in_context_functions", {"train.stop_when.loss=0.1", "checkpoint.best=loss"}), "");
  EXPECT_EQ(complaint("hyena", {stop[0], best[0]}), "");
}

void poison(Trainer& trainer) {
  const nn::Parameter& p = *trainer.arena().parameters().back();
  *p.master().view().ptr<float>() = std::nanf("");
}

TEST(Trainer, SkipsStepsThatAreNotFinite) {
  Trainer trainer(test_recipe("hyena"), kCpu);
  EXPECT_FALSE(trainer.step(0).skipped);
  poison(trainer);
  const Tensor& master = trainer.arena().master();
  const std::vector<float> before(master.view().ptr<float>(), master.view().ptr<float>() + master.numel());
  EXPECT_TRUE(trainer.step(1).skipped);
  EXPECT_EQ(std::memcmp(before.data(), master.view().data, before.size() * sizeof(float)), 0);
}

TEST(Trainer, GivesUpAfterManySkippedSteps) {
  const TemporaryFolder folder;
  const Recipe recipe = test_recipe("hyena", {"train.max_skipped=3"});
  Trainer trainer(recipe, kCpu);
  poison(trainer);
  RunFolder run_folder(folder / "run", config::to_yaml(recipe), false);
  EXPECT_THROW(trainer.run(run_folder), Failure);
  EXPECT_EQ(lines_of(folder / "run" / "metrics.jsonl").size(), 3u);
}

/// Keeps a tensor of the step beyond its end.
struct Leaky : Wrapper {
  using Wrapper::Wrapper;
  ops::Loss loss(const models::Batch& batch, const nn::Context& context, bool predictions) override {
    const ops::Loss out = inner_.loss(batch, context, predictions);
    kept_ = out.sum;
    return out;
  }
  Tensor kept_;
};

TEST(Trainer, NoticesALeakedTensor) {
  Trainer sound(wrapped<Wrapper>(test_recipe("hyena")), kCpu);
  EXPECT_NO_THROW(sound.step(0));
  Trainer leaky(wrapped<Leaky>(test_recipe("hyena")), kCpu);
  try {
    leaky.step(0);
    FAIL();
  } catch (const std::logic_error& e) {
    EXPECT_NE(std::string(e.what()).find("cross_entropy"), std::string::npos) << e.what();
  }
}

/// Reads on the host inside the step.
struct Peeking : Wrapper {
  using Wrapper::Wrapper;
  ops::Loss loss(const models::Batch& batch, const nn::Context& context, bool predictions) override {
    batch.ids.to_host_i32();
    return inner_.loss(batch, context, predictions);
  }
};

TEST(Trainer, NoticesAHostReadInAStep) {
  Trainer peeking(wrapped<Peeking>(test_recipe("hyena")), kCpu);
  EXPECT_THROW(peeking.step(0), std::logic_error);
}

TEST(Trainer, ReportsTheStep) {
  const Recipe recipe = test_recipe("hyena");
  Trainer trainer(recipe, kCpu);
  const StepMetrics m = trainer.step(4);
  EXPECT_EQ(m.step, 5);
  EXPECT_DOUBLE_EQ(m.lr, 5e-3 * 0.5);
  EXPECT_NEAR(m.loss, std::log(10.0), 0.5);
  EXPECT_GT(m.grad_norm, 0);
  EXPECT_GT(m.memory, 0);
  EXPECT_GT(m.tokens_per_second, 0);
}

}  // namespace
}  // namespace mara::train
