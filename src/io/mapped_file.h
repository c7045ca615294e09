#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace mara::io {

/// A file's bytes as read-only memory. The file must not be cut short while it is mapped; files of ours are only ever
/// replaced as a whole (AtomicFile), which leaves a mapping intact.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// Gives the memory back that reading has taken; what is read again comes back from the file.
  void release() const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace mara::io
