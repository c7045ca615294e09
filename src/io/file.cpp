#include "io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "io/atomic_file.h"

namespace mara::io {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* what) {
  throw Failure(detail::join({final_name(path).string(), ": ", what, ": ", system_message()}));
}

}  // namespace

std::string system_message() { return std::strerror(errno); }

File File::open_to_read(const std::filesystem::path& path) {
  struct stat status {};
  // Before opening: opening a pipe would wait for its writer.
  MARA_CHECK(::stat(path.c_str(), &status) == 0, path.string(), ": cannot be read: ", system_message());
  MARA_CHECK(S_ISREG(status.st_mode), path.string(), ": a regular file is required, this is ",
             S_ISDIR(status.st_mode) ? "a folder" : "none");
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  MARA_CHECK(descriptor >= 0, path.string(), ": cannot be read: ", system_message());
  return File(path, descriptor);
}

File File::create(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) fail(path, "cannot be made");
  return File(path, descriptor);
}

File File::open_to_write(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) fail(path, "cannot be written");
  return File(path, descriptor);
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail(path_, "cannot be read");
  return status.st_size;
}

void File::read(void* out, int64_t bytes, int64_t offset) const {
  for (char* to = static_cast<char*>(out); bytes > 0;) {
    const ssize_t count = ::pread(descriptor_, to, static_cast<size_t>(bytes), offset);
    if (count < 0 && errno == EINTR) continue;
    MARA_CHECK(count >= 0, path_.string(), ": cannot be read at byte ", offset, ": ", system_message());
    MARA_CHECK(count > 0, path_.string(), ": ends at byte ", offset, ", ", bytes, " more are required");
    to += count, offset += count, bytes -= count;
  }
}

void File::write(const void* data, int64_t bytes, int64_t offset) {
  for (const char* from = static_cast<const char*>(data); bytes > 0;) {
    const ssize_t count = ::pwrite(descriptor_, from, static_cast<size_t>(bytes), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(path_, "cannot be written");
    from += count, offset += count, bytes -= count;
  }
}

void File::reserve(int64_t bytes) {
  while (bytes > 0 && ::fallocate(descriptor_, 0, 0, bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return;
    fail(path_, detail::join({"no room for ", bytes, " bytes"}).c_str());
  }
}

void File::truncate(int64_t bytes) {
  if (::ftruncate(descriptor_, bytes) != 0) fail(path_, "cannot be cut to its length");
}

void File::sync() {
  if (::fsync(descriptor_) != 0) fail(path_, "cannot be brought to the disk");
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // EINVAL: the file system has no fsync of folders.
  const bool done = descriptor >= 0 && (::fsync(descriptor) == 0 || errno == EINVAL);
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  errno = error;
  if (!done) fail(folder, "cannot be brought to the disk");
}

}  // namespace mara::io
