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

constexpr const char* kMark = ".tmp-";

std::string unique_suffix() {
  static std::atomic<int> count = 0;
  return kMark + std::to_string(getpid()) + "-" + std::to_string(count++);
}

void refuse_existing(const std::filesystem::path& path) {
  MARA_CHECK(!std::filesystem::exists(std::filesystem::symlink_status(path)), path.string(),
             ": exists and is not overwritten; choose another name or move it away");
}

}  // namespace

void check_target(const std::filesystem::path& path, Existing existing) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::error_code none;
  MARA_CHECK(std::filesystem::is_directory(folder, none), path.string(), ": cannot be made: there is no folder ",
             folder.string(), "; make it, or choose another place");
  if (existing == Existing::refuse) refuse_existing(path);
  MARA_CHECK(path.has_filename() && !std::filesystem::is_directory(path, none), path.string(),
             ": cannot be made: the name of a file is required, this is a folder's");
  MARA_CHECK(::access(folder.c_str(), W_OK | X_OK) == 0, path.string(), ": cannot be made: ", system_message());
}

AtomicFile::AtomicFile(std::filesystem::path target, Existing existing)
    : target_(std::move(target)), temporary_(target_.string() + unique_suffix()), existing_(existing) {
  check_target(target_, existing_);
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
  return path.filename().string().find(kMark) != std::string::npos;
}

std::filesystem::path final_name(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return path.parent_path() / name.substr(0, name.find(kMark));
}

}  // namespace mara::io
