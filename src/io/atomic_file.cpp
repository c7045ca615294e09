#include "io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

#include "core/error.h"
#include "io/file.h"

namespace mara::io {
namespace {

std::string unique_suffix() {
  static std::atomic<int> count = 0;
  return ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(count++);
}

void refuse_existing(const std::filesystem::path& path) {
  MARA_CHECK(!std::filesystem::exists(std::filesystem::symlink_status(path)), path.string(),
             ": exists and is not overwritten; choose another name or move it away");
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path target, Existing existing)
    : target_(std::move(target)), temporary_(target_.string() + unique_suffix()), existing_(existing) {
  if (existing_ == Existing::refuse) refuse_existing(target_);
}

AtomicFile::~AtomicFile() {
  std::error_code ignored;
  if (!committed_) std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::commit() {
  File::open_to_write(temporary_).sync();
  const bool keep = existing_ == Existing::refuse;
  int result = ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), keep ? RENAME_NOREPLACE : 0);
  if (result != 0 && keep && errno == EINVAL) {  // a file system without RENAME_NOREPLACE
    refuse_existing(target_);
    result = ::rename(temporary_.c_str(), target_.c_str());
  }
  if (result != 0 && errno == EEXIST) refuse_existing(target_);
  if (result != 0) throw Failure(detail::join({target_.string(), ": cannot be made: ", system_message()}));
  committed_ = true;
  sync_folder(target_.parent_path());
}

bool is_temporary(const std::filesystem::path& path) {
  return path.filename().string().find(".tmp-") != std::string::npos;
}

}  // namespace mara::io
