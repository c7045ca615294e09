#include "data/document_file.h"

#include <algorithm>

#include "io/hash.h"

namespace mara::data {
namespace {

constexpr int64_t kPiece = int64_t{1} << 20;

}  // namespace

DocumentFile::DocumentFile(const std::filesystem::path& path, std::string separator)
    : file_(io::File::open_to_read(path)), separator_(std::move(separator)), size_(file_.size()) {}

std::string_view DocumentFile::piece(int64_t begin, int64_t end) const {
  // A separator that straddles the end of what is in memory must be seen whole.
  const int64_t needed = std::min(begin + std::max<int64_t>(1, static_cast<int64_t>(separator_.size())), end);
  if (begin < buffer_begin_ || needed > buffer_end_) {
    buffer_.resize(static_cast<size_t>(std::max(kPiece, needed - begin)));
    const int64_t count = std::min(size_ - begin, static_cast<int64_t>(buffer_.size()));
    file_.read(buffer_.data(), count, begin);
    buffer_begin_ = begin;
    buffer_end_ = begin + count;
  }
  return {buffer_.data() + (begin - buffer_begin_), static_cast<size_t>(std::min(end, buffer_end_) - begin)};
}

std::optional<DocumentFile::Document> DocumentFile::next() {
  if (next_ >= size_) return std::nullopt;
  Document document{.begin = next_, .end = next_};
  io::Xxh3 hash;
  bool found = false;
  while (!found && document.end < size_) {
    const std::string_view text = piece(document.end, size_);
    const bool last = document.end + static_cast<int64_t>(text.size()) == size_;
    size_t take = text.size();
    if (!separator_.empty()) {
      const size_t at = text.find(separator_);
      found = at != std::string_view::npos;
      if (found) {
        take = at;
      } else if (!last) {
        take -= separator_.size() - 1;  // the separator may begin in these
      }
    }
    hash.update(text.data(), take);
    document.end += static_cast<int64_t>(take);
  }
  next_ = document.end + (found ? static_cast<int64_t>(separator_.size()) : 0);
  document.hash = hash.digest();
  return document;
}

}  // namespace mara::data
