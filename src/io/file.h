#pragma once
// Plain files: system calls whose failures are errors that name the file.

#include <cstdint>
#include <filesystem>
#include <string>

namespace mara::io {

/// "No space left on device", of errno.
std::string system_message();

/// An open regular file.
class File {
 public:
  /// Throws Error for what is missing, unreadable or not a regular file.
  static File open_to_read(const std::filesystem::path& path);
  /// The file must not exist. Throws Failure.
  static File create(const std::filesystem::path& path);
  /// The file must exist. Throws Failure.
  static File open_to_write(const std::filesystem::path& path);
  ~File();
  File(File&& other) noexcept : path_(std::move(other.path_)), descriptor_(other.descriptor_) {
    other.descriptor_ = -1;
  }
  File& operator=(File&&) = delete;

  int descriptor() const { return descriptor_; }
  int64_t size() const;
  /// Exactly `bytes` of them, else Error.
  void read(void* out, int64_t bytes, int64_t offset) const;
  /// All of them, else Failure.
  void write(const void* data, int64_t bytes, int64_t offset);
  /// Takes this much room on the disk, so that writing it cannot find the disk full. Throws Failure if there is not
  /// enough; does nothing on file systems that cannot.
  void reserve(int64_t bytes);
  void truncate(int64_t bytes);
  /// Until the disk has it. Throws Failure.
  void sync();

 private:
  File(std::filesystem::path path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  std::filesystem::path path_;
  int descriptor_;
};

/// Until the disk knows of files made, renamed and removed in the folder. Throws Failure.
void sync_folder(const std::filesystem::path& folder);

}  // namespace mara::io
