#pragma once
// Token shards: HDF5 files of token ids, read as mapped memory. data/FORMAT.md states the layout.

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/tokenizer.h"
#include "io/file.h"
#include "io/hdf5_file.h"
#include "io/mapped_file.h"

namespace mara::data {

/// Tokens are checked in blocks of so many.
inline constexpr int64_t kBlockTokens = int64_t{1} << 20;

/// What a shard says of itself.
struct ShardInfo {
  std::string tokenizer;
  std::string tokenizer_xxh3;  // Tokenizer::hash as 16 hexadecimal digits
  int64_t vocabulary = 0;
  int64_t separator = 0;  // ends every document
  int64_t tokens = 0;
  std::string source;  // where the text came from, for people
};

/// One shard. Opening reads and checks everything but the tokens; a block of tokens is checked when its first token
/// is read. Several threads may read at once.
class ShardReader {
 public:
  /// Throws Error for a file that is not an intact shard.
  explicit ShardReader(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const ShardInfo& info() const { return info_; }
  int64_t tokens() const { return info_.tokens; }
  int64_t bytes_per_token() const { return bytes_per_token_; }
  /// First tokens of the documents (or of the rest of one that began in the shard before), then tokens().
  const std::vector<uint64_t>& documents() const { return documents_; }
  /// xxh3 of each block.
  const std::vector<uint64_t>& checksums() const { return checksums_; }

  /// Tokens [first, first + out.size()). Throws Error where a block is not what was written.
  void read(int64_t first, std::span<int32_t> out) const;
  /// Asks the processor to fetch tokens [first, first + count) while other work goes on.
  void prefetch(int64_t first, int64_t count) const;
  /// Checks every block, one in memory at a time.
  void verify() const;

 private:
  explicit ShardReader(const io::Hdf5Reader& file);
  void verify_block(int64_t block) const;

  std::filesystem::path path_;
  ShardInfo info_;
  int64_t bytes_per_token_;
  std::vector<uint64_t> documents_, checksums_;
  io::MappedFile file_;
  const std::byte* data_;                          // of the tokens
  std::unique_ptr<std::atomic<bool>[]> verified_;  // per block
};

/// Writes the documents of one split as shards <folder>/<prefix>-00000.h5, -00001.h5, ... of `shard_tokens` tokens but
/// the last, in 2 bytes a token where the vocabulary allows. Tokens go through an unnamed temporary file in the folder,
/// since their number must be known before a shard can be laid out: memory is one block and 32 MB of document starts
/// at most, whatever comes. Documents of any length are cut where a shard is full.
class ShardWriter {
 public:
  ShardWriter(const std::filesystem::path& folder, const std::string& prefix, const Tokenizer& tokenizer,
              const std::string& source, int64_t shard_tokens);

  /// Pieces of the document begun by the first append after the last end_document.
  void append(std::span<const int32_t> ids);
  /// Appends the separator. Every document must be ended.
  void end_document();
  /// Completes the last shard.
  void finish();

  int64_t shards() const { return shards_; }
  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }  // separators included

 private:
  void write(std::span<const int32_t> ids);
  void flush_block();
  void finish_shard();

  std::filesystem::path folder_;
  std::string prefix_, source_;
  const Tokenizer& tokenizer_;
  int64_t shard_tokens_, bytes_per_token_;
  bool in_document_ = false;
  int64_t shards_ = 0, documents_ = 0, tokens_ = 0;
  // Of the shard that is being written:
  std::optional<io::File> spool_;
  int64_t in_shard_ = 0;          // tokens
  std::vector<std::byte> block_;  // those not yet in the spool
  std::vector<uint64_t> starts_, checksums_;
};

}  // namespace mara::data
