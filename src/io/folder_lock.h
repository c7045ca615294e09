#pragma once

#include <filesystem>

namespace mara::io {

/// Keeps a folder for this process until it ends, however it ends. File systems without locks have none.
class FolderLock {
 public:
  /// Throws Error if another process has it.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace mara::io
