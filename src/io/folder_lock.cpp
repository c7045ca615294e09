#include "io/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "core/error.h"
#include "io/file.h"

namespace mara::io {

FolderLock::FolderLock(const std::filesystem::path& folder)
    : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  MARA_CHECK(descriptor_ >= 0, folder.string(), ": cannot be opened: ", system_message());
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(descriptor_);
  throw Error(folder.string() + ": another process is working in it; wait for it or stop it, or choose another folder");
}

FolderLock::~FolderLock() { ::close(descriptor_); }

}  // namespace mara::io
