#pragma once
// The runs of a grid, one after another or several at once.

#include <filesystem>
#include <vector>

#include "core/device.h"
#include "train/sweep.h"

namespace mara::cli {

struct SweepOptions {
  std::filesystem::path folder;
  Device device = kCpu;
  int jobs = 1;           // runs at once
  bool no_check = false;  // of a GPU's kernels
};

/// Trains every point in a folder of its own, FOLDER/NAME, by this program as a child process: what happens to one run
/// does not touch the others, and each has the bits it has alone. The threads of the CPU are divided among the jobs.
/// A point that has come to its end is left as it is and one that has not goes on, so the same command goes on with a
/// sweep, and a longer one extends it. The results, also FOLDER/results.tsv, come last. SIGINT and SIGTERM are passed
/// on to the runs, which save their states. Returns the exit code: 0, 1 where a run failed, or 128 plus the signal.
/// Throws Error, before anything is made, where the folder is no sweep's or holds runs of other recipes.
int run_sweep(const std::vector<train::SweepPoint>& points, const SweepOptions& options);

}  // namespace mara::cli
