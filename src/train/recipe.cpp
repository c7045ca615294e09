#include "train/recipe.h"

#include <algorithm>

#include "core/runtime.h"

namespace mara::train {

void RunConfig::fields(config::Fields& f) {
  f.required("name", name, "name of the run folder under runs/");
  f.field("seed", seed, "initial values, order of examples, dropout and the task all follow from it",
          config::at_least(0));
  f.require(!name.empty() && name.find('/') == std::string::npos && name != "." && name != ".." && name.size() <= 200,
            "name", "must be a plain folder name of at most 200 characters, got '" + name + "'");
}

void StopConfig::fields(config::Fields& f) {
  f.field("accuracy", accuracy, "stop once evaluation reaches this, or", config::between(0, 1));
  f.field("loss", loss, "comes down to this", config::at_least(0));
  f.field("evaluations", evaluations, "so many times in a row", config::at_least(1));
}

void TrainConfig::fields(config::Fields& f) {
  f.required("steps", steps, "optimiser steps at most", config::at_least(1));
  f.field("batch", batch, "examples per step", config::between(1, 1 << 24));
  f.field("micro_batch", micro_batch, "examples at once, gradients are accumulated; 0: the whole batch",
          config::at_least(0));
  f.field("recompute", recompute, "`block`: save only each block's input, run blocks again in backward",
          config::one_of({"none", "block"}));
  f.field("capture", capture, "`step`: from its third run on a step is one launch of a captured graph, on a GPU",
          config::one_of({"step", "off"}));
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
  f.field("batch", batch, "examples at once; 0: train.batch", config::between(0, 1 << 24));
}

void CheckpointConfig::fields(config::Fields& f) {
  f.field("every", every, "steps between checkpoints; 0: only at the end", config::at_least(0));
  f.field("keep", keep, "the newest so many stay", config::at_least(1));
  f.field("keep_every", keep_every, "those of multiples of so many steps stay too; 0: none", config::at_least(0));
  f.field("best", best, "the one with the best evaluation stays too", config::one_of({"none", "accuracy", "loss"}));
}

void LogConfig::fields(config::Fields& f) {
  f.field("tensorboard", tensorboard, "also write event files for TensorBoard into the run folder");
}

void Recipe::fields(config::Fields& f) {
  f.group("run", run, "what the run is called and seeded with");
  f.optional_group("task", task, "what is learned: a synthetic task, or");
  f.optional_group("data", data, "a text");
  f.require(task.has_value() != data.has_value(), task ? "data" : "task",
            task ? "a recipe has either task or data, this one has both" : "missing; a recipe needs task or data");
  f.group("precision", precision, "how numbers are kept");
  const models::ModelSetup setup = model_setup();
  f.group(
      "model", [&] { model.fields(f, setup); }, "what learns it");
  f.group("optim", optim, "how the weights are updated");
  f.group("schedule", schedule, "learning rate over the steps");
  f.group("train", train, "how long and in which portions");
  f.require(!setup.values || !train.stop_when || train.stop_when->accuracy == 1, "train",
            "stop_when: this task predicts real numbers, which have no accuracy; give loss instead");
  f.group("eval", eval, "when and on how much the model is judged");
  f.group("checkpoint", checkpoint, "what a stopped run goes on from");
  f.require(checkpoint.best == "none" || checkpoint.every % eval.every == 0, "checkpoint",
            detail::join({"best: needs an evaluation of each checkpoint, so every must be a multiple of eval.every ",
                          eval.every, ", got ", checkpoint.every}));
  f.require(!setup.values || checkpoint.best != "accuracy", "checkpoint",
            "best: this task predicts real numbers, which have no accuracy; give loss");
  f.group("log", log, "");
}

models::ModelSetup Recipe::model_setup() const {
  if (data) {
    return {ExampleForm::tokens(data::make_tokenizer(data->tokenizer)->vocabulary(), data->length), precision};
  }
  if (!task) return {{}, precision};  // an error that is reported once the whole recipe is read
  return {task->make(seed())->form(), precision};
}

Recipe Recipe::load(const std::string& path, const std::vector<std::string>& overrides) {
  config::Document document = config::Document::load(path);
  for (const std::string& assignment : overrides) document.set(assignment);
  Recipe recipe;
  document.read(recipe);
  return recipe;
}

void Recipe::require_device(Device device) const {
  runtime(device);  // throws where there is none
  MARA_CHECK(device.type != DeviceType::cuda || precision.compute != "f64",
             "precision.compute: f64 runs on a CPU only, the device is ", to_string(device),
             "; choose f32 or bf16, or --device cpu");
}

std::vector<Difference> differences(const Recipe& first, const Recipe& second) {
  std::vector<Difference> all;
  for (const config::KeyValue& field : config::values(first)) all.push_back({field.key, field.value, "none"});
  for (const config::KeyValue& field : config::values(second)) {
    const auto same = std::find_if(all.begin(), all.end(), [&](const Difference& d) { return d.key == field.key; });
    if (same == all.end()) {
      all.push_back({field.key, "none", field.value});
    } else {
      same->second = field.value;
    }
  }
  std::erase_if(all, [](const Difference& d) { return d.first == d.second; });
  return all;
}

}  // namespace mara::train
