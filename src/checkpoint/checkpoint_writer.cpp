#include "checkpoint/checkpoint_writer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "core/log.h"
#include "io/atomic_file.h"

namespace mara::checkpoint {
namespace {

void remove_file(const std::filesystem::path& path) {
  std::error_code code;
  std::filesystem::remove(path, code);
  if (code) log_warning("cannot remove " + path.string() + ": " + code.message());
}

/// Lets the threads that train go first where cores are scarce: each of their parallel loops waits for the last of
/// them. Linux keeps this per thread.
void step_back() { ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 10); }

const Found* best_of(const std::vector<Found>& files, const std::string& score) {
  const Found* best = nullptr;
  for (const Found& file : files) {
    if (!file.score || file.score->name != score) continue;
    if (best == nullptr || file.score->value >= best->score->value) best = &file;
  }
  return best;
}

}  // namespace

std::string file_name(int64_t step) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "step_%08lld.h5", static_cast<long long>(step));
  return buffer;
}

CheckpointWriter::CheckpointWriter(std::filesystem::path folder, Keep keep, std::vector<Found> existing,
                                   StateFunction state)
    : folder_(std::move(folder)),
      keep_(std::move(keep)),
      state_(std::move(state)),
      snapshot_(state_),
      files_(std::move(existing)) {
  std::error_code code;
  std::filesystem::create_directories(folder_, code);
  MARA_CHECK(!code, folder_.string(), ": cannot be made: ", code.message());
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    if (io::is_temporary(entry.path())) remove_file(entry.path());
  }
}

CheckpointWriter::~CheckpointWriter() { wait(); }

bool CheckpointWriter::save(const std::string& recipe, const std::optional<Score>& score) {
  if (writing_.valid()) {
    if (writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return false;
    writing_.get();
  }
  snapshot_.capture(state_);
  writing_ = std::async(std::launch::async, [this, recipe, score] {
    step_back();
    return write(recipe, score);
  });
  return true;
}

bool CheckpointWriter::wait() { return !writing_.valid() || writing_.get(); }

bool CheckpointWriter::write(const std::string& recipe, const std::optional<Score>& score) {
  const int64_t step = snapshot_.step();
  const Found made{folder_ / file_name(step), step, score};
  try {
    snapshot_.write(made.path, recipe, score);
  } catch (const std::exception& error) {
    log_warning(detail::join({"checkpoint of step ", step, " not saved, training goes on: ", error.what()}));
    return false;
  }
  std::erase_if(files_, [&](const Found& file) { return file.path == made.path; });
  files_.push_back(made);
  drop_old();
  return true;
}

void CheckpointWriter::drop_old() {
  const Found* best = best_of(files_, keep_.best);
  std::vector<Found> kept;
  for (size_t i = 0; i < files_.size(); ++i) {
    const Found& file = files_[i];
    const bool newest = static_cast<int64_t>(files_.size() - i) <= keep_.newest;
    const bool multiple = keep_.every > 0 && file.step % keep_.every == 0;
    if (newest || multiple || &file == best) {
      kept.push_back(file);
    } else {
      remove_file(file.path);
    }
  }
  files_ = std::move(kept);
}

}  // namespace mara::checkpoint
