#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "data/shard.h"
#include "io/atomic_file.h"
#include "io/hash.h"

namespace mara::data {
namespace {

// A shard is also full at so many documents: 32 MB of start offsets.
constexpr size_t kMaxDocuments = size_t{1} << 22;

template <class T>
void append_as(std::span<const int32_t> ids, std::vector<std::byte>& block) {
  const size_t begin = block.size();
  block.resize(begin + ids.size() * sizeof(T));
  T* out = reinterpret_cast<T*>(block.data() + begin);
  for (const int32_t id : ids) *out++ = static_cast<T>(id);
}

/// A file without a name: gone when closed, or when the process dies.
io::File unnamed_file(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / (".tokens.tmp-" + std::to_string(getpid()));
  std::ofstream(path).flush();
  io::File file = io::File::open_to_write(path);
  unlink(path.c_str());
  return file;
}

}  // namespace

ShardWriter::ShardWriter(const std::filesystem::path& folder, const std::string& prefix, const Tokenizer& tokenizer,
                         const std::string& source, int64_t shard_tokens)
    : folder_(folder),
      prefix_(prefix),
      source_(source),
      tokenizer_(tokenizer),
      shard_tokens_(shard_tokens),
      bytes_per_token_(tokenizer.vocabulary() <= 65536 ? 2 : 4) {}

void ShardWriter::append(std::span<const int32_t> ids) { write(ids); }

void ShardWriter::end_document() {
  if (!in_document_) return;  // no token came
  write(std::array{tokenizer_.separator()});
  in_document_ = false;
}

void ShardWriter::write(std::span<const int32_t> ids) {
  while (!ids.empty()) {
    if (in_shard_ == shard_tokens_ || starts_.size() == kMaxDocuments) finish_shard();
    if (!in_document_) ++documents_;
    if (!in_document_ || in_shard_ == 0) starts_.push_back(static_cast<uint64_t>(in_shard_));
    in_document_ = true;
    const int64_t room = std::min(shard_tokens_ - in_shard_, kBlockTokens - in_shard_ % kBlockTokens);
    const auto piece = ids.first(std::min(ids.size(), static_cast<size_t>(room)));
    bytes_per_token_ == 2 ? append_as<uint16_t>(piece, block_) : append_as<uint32_t>(piece, block_);
    in_shard_ += static_cast<int64_t>(piece.size());
    tokens_ += static_cast<int64_t>(piece.size());
    if (in_shard_ % kBlockTokens == 0) flush_block();
    ids = ids.subspan(piece.size());
  }
}

void ShardWriter::flush_block() {
  if (block_.empty()) return;
  if (!spool_) spool_.emplace(unnamed_file(folder_));
  const int64_t at = static_cast<int64_t>(checksums_.size()) * kBlockTokens * bytes_per_token_;
  spool_->write(block_.data(), static_cast<int64_t>(block_.size()), at);
  checksums_.push_back(io::xxh3(block_.data(), block_.size()));
  block_.clear();
}

void ShardWriter::finish_shard() {
  flush_block();
  if (in_shard_ == 0) return;
  starts_.push_back(static_cast<uint64_t>(in_shard_));
  std::string number = std::to_string(shards_++);
  number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
  io::AtomicFile target(folder_ / (prefix_ + "-" + number + ".h5"));
  {
    const auto count = [](const std::vector<uint64_t>& values) { return static_cast<int64_t>(values.size()); };
    const int64_t index_bytes = 8 * (count(starts_) + count(checksums_));
    io::Hdf5Writer file(target.temporary(), in_shard_ * bytes_per_token_ + index_bytes);
    file.attribute("format", "mara-tokens");
    file.attribute("format_version", int64_t{1});
    file.attribute("tokenizer", tokenizer_.name());
    file.attribute("tokenizer_xxh3", io::hash_text(tokenizer_.hash()));
    file.attribute("vocab_size", tokenizer_.vocabulary());
    file.attribute("separator_id", int64_t{tokenizer_.separator()});
    file.attribute("separator_position", "after");
    file.attribute("num_tokens", in_shard_);
    file.attribute("source", source_);
    file.add("documents", io::ElementType::u64, {count(starts_)}, starts_.data());
    file.add("checksums", io::ElementType::u64, {count(checksums_)}, checksums_.data());
    const io::Dataset tokens =
        file.declare("tokens", bytes_per_token_ == 2 ? io::ElementType::u16 : io::ElementType::u32, {in_shard_});
    block_.resize(static_cast<size_t>(std::min(in_shard_, kBlockTokens) * bytes_per_token_));
    for (int64_t first = 0; first < in_shard_; first += kBlockTokens) {
      const int64_t bytes = std::min(kBlockTokens, in_shard_ - first) * bytes_per_token_;
      spool_->read(block_.data(), bytes, first * bytes_per_token_);
      file.write(tokens, first, block_.data(), bytes);
    }
    file.finish(io::FileKind::shard, {tokens});
  }
  target.commit();
  spool_.reset();
  in_shard_ = 0;
  block_.clear();
  starts_.clear();
  checksums_.clear();
}

void ShardWriter::finish() { finish_shard(); }

}  // namespace mara::data
