#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"

namespace mara::data {

/// A file cut into documents, read in pieces: neither a file nor a document needs to fit in memory.
class DocumentFile {
 public:
  struct Document {
    int64_t begin = 0, end = 0;  // bytes of the file
    uint64_t hash = 0;           // xxh3 of them
  };

  /// An empty separator: the whole file is one document.
  DocumentFile(const std::filesystem::path& path, std::string separator);

  int64_t size() const { return size_; }
  /// The document after the last one, maybe an empty one; none at the end of the file.
  std::optional<Document> next();
  /// The bytes from `begin` on up to `end` or earlier, at least one of them; valid until the next call of anything.
  std::string_view piece(int64_t begin, int64_t end) const;

 private:
  io::File file_;
  std::string separator_;
  int64_t size_;
  int64_t next_ = 0;  // where the next document begins
  // What is in memory: bytes of the file from buffer_begin_ on.
  mutable std::vector<char> buffer_;
  mutable int64_t buffer_begin_ = 0, buffer_end_ = 0;
};

}  // namespace mara::data
