#include "io/mapped_file.h"

#include <sys/mman.h>

#include <utility>

#include "core/error.h"
#include "io/file.h"

namespace mara::io {

MappedFile::MappedFile(const std::filesystem::path& path) {
  const File file = File::open_to_read(path);
  size_ = static_cast<size_t>(file.size());
  if (size_ == 0) return;  // nothing to map
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  MARA_CHECK(data != MAP_FAILED, path.string(), ": cannot be mapped into memory: ", system_message());
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

void MappedFile::release() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

}  // namespace mara::io
