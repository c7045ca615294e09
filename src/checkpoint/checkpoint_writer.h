#pragma once

#include <future>

#include "checkpoint/checkpoint.h"

namespace mara::checkpoint {

/// Which checkpoints stay: the newest, those whose step is a multiple of `every` (0: none for that), and the best by
/// the score of this name (empty: none for that).
struct Keep {
  int64_t newest = 2;
  int64_t every = 0;
  std::string best;
};

/// Saves a state while it goes on changing: copies it into memory of its own, then writes in the background. A write
/// that fails is warned of, and leaves the checkpoints before it as they are.
class CheckpointWriter {
 public:
  /// Allocates the memory. `existing`: checkpoints in the folder, which count for what is kept. What a killed run
  /// left half written is removed.
  CheckpointWriter(std::filesystem::path folder, Keep keep, std::vector<Found> existing, StateFunction state);
  /// Waits.
  ~CheckpointWriter();

  /// Returns after the copy. False, with nothing done, while the one before is still being written.
  bool save(const std::string& recipe, const std::optional<Score>& score = std::nullopt);
  /// Until the last save is on the disk, or has failed: false.
  bool wait();

 private:
  bool write(const std::string& recipe, const std::optional<Score>& score);
  void drop_old();

  std::filesystem::path folder_;
  Keep keep_;
  StateFunction state_;
  Snapshot snapshot_;         // the writing thread's while there is one
  std::vector<Found> files_;  // by step; the same
  std::future<bool> writing_;
};

/// "step_00001000.h5": for people, and so that names sort; programs read the step in the file.
std::string file_name(int64_t step);

}  // namespace mara::checkpoint
