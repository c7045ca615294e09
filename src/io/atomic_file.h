#pragma once

#include <filesystem>

namespace mara::io {

enum class Existing { refuse, replace };

/// Throws Error unless a file can be made there: the folder is there, and the file is not, or is one that may be
/// replaced. AtomicFile asks this; others do before the work that comes first.
void check_target(const std::filesystem::path& path, Existing existing);

/// Makes a file appear whole or not at all: it is written under a temporary name in the same folder and renamed when
/// it is safe on the disk. A file that exists is refused here and again in commit() unless it may be replaced.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target, Existing existing = Existing::refuse);
  /// Removes the temporary file unless committed.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Where to write; nothing is there yet. Names hold ".tmp-", see is_temporary.
  const std::filesystem::path& temporary() const { return temporary_; }
  const std::filesystem::path& target() const { return target_; }
  /// fsync, rename, fsync of the folder. Throws Failure, with the target as it was.
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  Existing existing_;
  bool committed_ = false;
};

/// Whether a file is what a killed process left of an AtomicFile.
bool is_temporary(const std::filesystem::path& path);
/// What a temporary file would be called when it is whole; any other is called as it is.
std::filesystem::path final_name(const std::filesystem::path& path);

}  // namespace mara::io
