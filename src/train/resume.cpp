#include "train/resume.h"

#include <algorithm>

#include "core/log.h"
#include "train/run_folder.h"

namespace mara::train {
namespace {

bool begins_with(const std::string& key, const std::vector<std::string>& beginnings) {
  return std::any_of(beginnings.begin(), beginnings.end(),
                     [&](const std::string& beginning) { return key.starts_with(beginning); });
}

bool same_rates(const Recipe& a, const Recipe& b, int64_t steps) {
  for (int64_t step = 0; step < steps; ++step) {
    if (optim::schedule_factor(a.schedule, step, a.train.steps) !=
        optim::schedule_factor(b.schedule, step, b.train.steps)) {
      return false;
    }
  }
  return true;
}

}  // namespace

ResumePoint find_resume_point(const std::filesystem::path& run_folder, const std::string& which) {
  const std::filesystem::path folder = run_folder / RunFolder::kCheckpoints;
  ResumePoint point{.from = {}, .in_folder = checkpoint::find_all(folder)};
  if (which != "latest") {
    point.from.emplace(which);
  } else if (!point.in_folder.empty()) {
    point.from.emplace(point.in_folder.back().path);
  } else {
    const bool damaged = std::filesystem::exists(folder) && checkpoint::holds_files(folder);
    MARA_CHECK(!damaged, folder.string(),
               ": none of the checkpoints there is valid, see the warnings; name one with --resume PATH, or start anew "
               "with --force");
    log_info("no checkpoint in " + folder.string() + " yet: starting with step 1");
  }
  return point;
}

void check_same_run(const Recipe& recipe, const checkpoint::Checkpoint& from) {
  Recipe stored;
  config::Document::parse(from.recipe(), from.path().string() + ": recipe").read(stored);
  std::vector<std::string> free{"run.name",         "eval.",        "checkpoint.", "log.", "train.max_skipped",
                                "train.stop_when.", "train.capture"};
  if (same_rates(stored, recipe, from.step())) free.insert(free.end(), {"train.steps", "schedule."});
  std::string differing;
  for (const Difference& d : differences(stored, recipe)) {
    if (begins_with(d.key, free)) continue;
    differing += "\n  " + d.key + ": " + d.first + " in the checkpoint, " + d.second + " in the recipe";
  }
  MARA_CHECK(differing.empty(), from.path().string(),
             ": resuming needs the recipe it was made with, these differ:", differing,
             "\nundo the change, or start a new run without --resume");
  MARA_CHECK(from.step() <= recipe.train.steps, from.path().string(), ": is of step ", from.step(),
             ", train.steps ends before it at ", recipe.train.steps, "; raise train.steps");
}

}  // namespace mara::train
