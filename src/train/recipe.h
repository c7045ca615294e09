#pragma once
// One YAML file that determines a run completely.

#include <optional>
#include <string>
#include <vector>

#include "config/fields.h"
#include "data/data_config.h"
#include "models/model.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "tasks/task.h"

namespace mara::train {

struct RunConfig {
  std::string name;
  int64_t seed = 1;
  void fields(config::Fields& f);
};

struct StopConfig {
  double accuracy = 1, loss = 0;
  int64_t evaluations = 2;
  void fields(config::Fields& f);
};

struct TrainConfig {
  int64_t steps = 0;
  int64_t batch = 32;
  int64_t micro_batch = 0;
  std::string recompute = "none";
  std::string capture = "step";
  int64_t max_skipped = 10;
  std::optional<StopConfig> stop_when;
  void fields(config::Fields& f);

  int64_t micro_batch_size() const { return micro_batch > 0 ? micro_batch : batch; }
};

struct EvalConfig {
  int64_t every = 200;
  int64_t examples = 500;
  int64_t test_examples = 5000;
  int64_t batch = 0;
  void fields(config::Fields& f);
};

struct CheckpointConfig {
  int64_t every = 500;
  int64_t keep = 2;
  int64_t keep_every = 0;
  std::string best = "none";
  void fields(config::Fields& f);
};

struct LogConfig {
  bool tensorboard = false;
  void fields(config::Fields& f);
};

struct Recipe {
  RunConfig run;
  std::optional<tasks::TaskConfig> task;  // or
  std::optional<data::DataConfig> data;
  models::Precision precision;
  models::ModelConfig model;
  optim::OptimConfig optim;
  optim::ScheduleConfig schedule;
  TrainConfig train;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  LogConfig log;

  void fields(config::Fields& f);

  /// Reads a file with "a.b=value" overrides. Throws Error for anything wrong in either.
  static Recipe load(const std::string& path, const std::vector<std::string>& overrides = {});

  /// Throws Error unless the device is there and can run it.
  void require_device(Device device) const;

  uint64_t seed() const { return static_cast<uint64_t>(run.seed); }
  models::ModelSetup model_setup() const;
  int64_t eval_batch() const { return eval.batch > 0 ? eval.batch : train.batch; }
};

/// A key whose values differ; "none" where a recipe does not have it.
struct Difference {
  std::string key, first, second;
};
std::vector<Difference> differences(const Recipe& first, const Recipe& second);

}  // namespace mara::train
