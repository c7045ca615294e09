#include "train/recipe.h"

namespace mara::train {

void RunConfig::fields(config::Fields& f) {
  f.required("name", name, "name of the run folder under runs/");
  f.field("seed", seed, "initial values, order of examples, dropout and the task all follow from it",
          config::at_least(0));
  f.require(!name.empty() && name.find('/') == std::string::npos && name != "." && name != "..", "name",
            "must be a plain folder name, got '" + name + "'");
}

void StopConfig::fields(config::Fields& f) {
  f.field("accuracy", accuracy, "stop once evaluation reaches this", config::between(0, 1));
  f.field("evaluations", evaluations, "so many times in a row", config::at_least(1));
}

void TrainConfig::fields(config::Fields& f) {
  f.required("steps", steps, "optimiser steps at most", config::at_least(1));
  f.field("batch", batch, "examples per step", config::at_least(1));
  f.field("micro_batch", micro_batch, "examples at once, gradients are accumulated; 0: the whole batch",
          config::at_least(0));
  f.field("recompute", recompute, "`block`: save only each block's input, run blocks again in backward",
          config::one_of({"none", "block"}));
  f.field("max_skipped", max_skipped, "stop after so many steps in a row without a finite loss and gradient",
          config::at_least(1));
  f.optional_group("stop_when", stop_when, "end early");
  f.require(micro_batch == 0 || batch % micro_batch == 0, "micro_batch",
            "must divide train.batch " + std::to_string(batch) + ", got " + std::to_string(micro_batch));
}

void EvalConfig::fields(config::Fields& f) {
  f.field("every", every, "steps between evaluations on the split `valid`", config::at_least(1));
  f.field("examples", examples, "examples of each", config::at_least(1));
  f.field("test_examples", test_examples, "examples of the split `test` for the last evaluation; 0: none",
          config::at_least(0));
  f.field("batch", batch, "examples at once; 0: train.batch", config::at_least(0));
}

void Recipe::fields(config::Fields& f) {
  f.group("run", run, "");
  f.group("task", task, "what is learned");
  f.group("precision", precision, "how numbers are kept");
  f.group("model", [&] { model.fields(f, model_setup()); }, "what learns it");
  f.group("optim", optim, "");
  f.group("schedule", schedule, "learning rate over the steps");
  f.group("train", train, "");
  f.group("eval", eval, "");
}

models::ModelSetup Recipe::model_setup() const {
  const std::unique_ptr<tasks::Task> made = task.make(seed());
  return {.vocabulary = made->vocabulary(), .length = made->length(), .precision = precision};
}

Recipe Recipe::load(const std::string& path, const std::vector<std::string>& overrides) {
  config::Document document = config::Document::load(path);
  for (const std::string& assignment : overrides) document.set(assignment);
  Recipe recipe;
  document.read(recipe);
  return recipe;
}

}  // namespace mara::train
