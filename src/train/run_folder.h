#pragma once
// What a run leaves behind: runs/<name>/{recipe.yaml, metrics.jsonl, log.txt, checkpoints/, samples.txt}, at its end
// outcome.json; with log.tensorboard also events.out.tfevents.*.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "eval/evaluate.h"
#include "io/event_file.h"
#include "io/folder_lock.h"
#include "tasks/task.h"
#include "train/resume.h"

namespace mara::train {

struct StepMetrics {
  int64_t step = 0;  // 1-based: steps done
  double loss = 0;   // mean over the scored positions of the batch, nats
  double lr = 0;
  double grad_norm = 0;          // of the mean loss, before clipping
  bool skipped = false;          // not finite: the weights were left alone
  double tokens_per_second = 0;  // input tokens, over the step's own time
  int64_t memory = 0;            // bytes of the step pool at its peak
  double seconds = 0;            // of training so far: every session's until here, evaluations included
};

/// How a run ended.
struct Outcome {
  int64_t steps = 0;                     // those before a resume included
  int64_t skipped = 0;                   // of them
  double seconds = 0;                    // of training in all sessions, evaluations on `valid` included
  double tokens_per_second = 0;          // input tokens, since the start or resume
  bool stopped_early = false;            // train.stop_when was met
  int signal = 0;                        // SIGINT or SIGTERM ended it; the state is saved
  std::optional<eval::Evaluation> test;  // for text without a test split: of all of `valid`
};

/// One process at a time has it.
class RunFolder {
 public:
  static constexpr const char* kCheckpoints = "checkpoints";

  /// Makes the folder and writes the resolved recipe. An existing one is refused, or with `force` moved to
  /// <path>.old-N: nothing is deleted.
  RunFolder(const std::filesystem::path& path, const std::string& resolved_recipe, bool force);
  /// Goes on with the run in the folder, or makes it. Metrics and checkpoints from beyond the point, an outcome, and a
  /// recipe that is not the one given, are moved to metrics.<n>.jsonl, checkpoints.<n>/, outcome.<n>.json and
  /// recipe.<n>.yaml.
  RunFolder(const std::filesystem::path& path, const std::string& resolved_recipe, const ResumePoint& point);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  /// Throws Error if a RunFolder could not be made there: for before the work that comes first.
  static void check_free(const std::filesystem::path& path, bool force);
  /// Makes the folder with nothing but the recipe, for a run to come; one that is there is left as it is.
  static void prepare(const std::filesystem::path& path, const std::string& resolved_recipe);
  /// How the run in the folder ended; nothing before it did. Throws Error for a damaged file.
  static std::optional<Outcome> outcome(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  /// Valid checkpoints of the run so far, by step, when it was resumed.
  const std::vector<checkpoint::Found>& checkpoints() const { return checkpoints_; }
  /// Of training before it was resumed.
  double seconds() const { return seconds_; }
  /// From now on metrics also go to an event file for TensorBoard, `first_step` the first of them.
  void write_events(int64_t first_step) { events_.emplace(path_, first_step); }
  /// One JSON object per line, written through at once.
  void write(const StepMetrics& metrics);
  void write(int64_t step, tasks::Split split, const eval::Evaluation& evaluation);
  /// The run has come to its end; written last.
  void write(const Outcome& outcome);
  /// What the trained model writes, for the report.
  void write_samples(const std::string& text);

 private:
  explicit RunFolder(const std::filesystem::path& path);  // an existing one
  void set_aside(const std::string& resolved_recipe, const ResumePoint& point);
  void start(const std::string& resolved_recipe);

  std::filesystem::path path_;
  io::FolderLock lock_;
  std::vector<checkpoint::Found> checkpoints_;
  double seconds_ = 0;
  std::ofstream metrics_;
  std::optional<io::EventFile> events_;
};

}  // namespace mara::train
