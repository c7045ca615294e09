#include "data/shard.h"

#include <algorithm>

#include "core/error.h"
#include "io/hash.h"

namespace mara::data {
namespace {

constexpr int64_t kFormatVersion = 1;

int64_t blocks_of(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

// Without branches, so that the compiler turns it into vector code; this is where the loader's time goes.
template <class T>
void widen(const std::byte* from, int64_t first, std::span<int32_t> out) {
  const T* tokens = reinterpret_cast<const T*>(from) + first;
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int32_t>(tokens[i]);
}

template <class T>
uint32_t largest(const std::byte* from, int64_t count) {
  const T* tokens = reinterpret_cast<const T*>(from);
  T out = 0;
  for (int64_t i = 0; i < count; ++i) out = std::max(out, tokens[i]);
  return out;
}

}  // namespace

ShardReader::ShardReader(const std::filesystem::path& path) : ShardReader(io::Hdf5Reader(path, io::FileKind::shard)) {}

ShardReader::ShardReader(const io::Hdf5Reader& file) : path_(file.path()), file_(file.path()) {
  const std::string name = path_.string();
  const std::string format = file.text("format");
  MARA_CHECK(format == "mara-tokens", name, ": attribute 'format' must be 'mara-tokens', got '", format,
             "'; data/FORMAT.md states the layout");
  const int64_t version = file.integer("format_version");
  MARA_CHECK(version == kFormatVersion, name, ": shard format version ", kFormatVersion, " is required, got ", version,
             "; tokenize again with this version of mara");
  const std::string position = file.text("separator_position");
  MARA_CHECK(position == "after", name, ": attribute 'separator_position' must be 'after', got '", position, "'");
  info_ = {.tokenizer = file.text("tokenizer"),
           .tokenizer_xxh3 = file.text("tokenizer_xxh3"),
           .vocabulary = file.integer("vocab_size"),
           .separator = file.integer("separator_id"),
           .tokens = file.integer("num_tokens"),
           .source = file.text("source")};
  MARA_CHECK(info_.vocabulary > 0 && info_.vocabulary <= int64_t{1} << 31, name,
             ": attribute 'vocab_size' must be from 1 to 2^31, got ", info_.vocabulary);
  MARA_CHECK(0 <= info_.separator && info_.separator < info_.vocabulary, name,
             ": attribute 'separator_id' must be below 'vocab_size' ", info_.vocabulary, ", got ", info_.separator);

  const io::Dataset* found = file.find("tokens");
  const bool narrow = found != nullptr && found->type == io::ElementType::u16;
  const io::Dataset& tokens = file.require("tokens", narrow ? io::ElementType::u16 : io::ElementType::u32, 1);
  const io::Dataset& documents = file.require("documents", io::ElementType::u64, 1);
  const io::Dataset& checksums = file.require("checksums", io::ElementType::u64, 1);
  MARA_CHECK(tokens.shape.numel() == info_.tokens && info_.tokens > 0, name, ": dataset 'tokens' holds ",
             tokens.shape.numel(), " tokens, attribute 'num_tokens' says ", info_.tokens,
             "; both must be equal and above 0");
  MARA_CHECK(file.guard().excluded == std::vector{tokens.bytes}, name,
             ": the guard must cover all but the tokens, bytes ", tokens.bytes.begin, " to ", tokens.bytes.end,
             "; data/FORMAT.md shows how to write a shard");
  MARA_CHECK(checksums.shape.numel() == blocks_of(info_.tokens), name, ": dataset 'checksums' must have one entry per ",
             kBlockTokens, " tokens, ", blocks_of(info_.tokens), ", got ", checksums.shape.numel());
  MARA_CHECK(documents.shape.numel() >= 2 && documents.shape.numel() <= info_.tokens + 1, name,
             ": dataset 'documents' must have from 2 to num_tokens + 1 entries, got ", documents.shape.numel());
  documents_ = file.read<uint64_t>(documents);
  const bool rising =
      std::adjacent_find(documents_.begin(), documents_.end(), std::greater_equal<>()) == documents_.end();
  MARA_CHECK(rising && documents_.front() == 0 && documents_.back() == static_cast<uint64_t>(info_.tokens), name,
             ": dataset 'documents' must rise from 0 to num_tokens ", info_.tokens);
  checksums_ = file.read<uint64_t>(checksums);
  bytes_per_token_ = io::size_of(tokens.type);
  MARA_CHECK(tokens.bytes.begin % bytes_per_token_ == 0, name, ": the tokens must start at a multiple of ",
             bytes_per_token_, " bytes, got ", tokens.bytes.begin);
  MARA_CHECK(tokens.bytes.end <= static_cast<int64_t>(file_.bytes().size()), name,
             ": the file was cut short while it was opened");
  data_ = file_.bytes().data() + tokens.bytes.begin;
  verified_ = std::make_unique<std::atomic<bool>[]>(checksums_.size());
}

void ShardReader::read(int64_t first, std::span<int32_t> out) const {
  MARA_ASSERT(first >= 0 && first + static_cast<int64_t>(out.size()) <= info_.tokens);
  if (out.empty()) return;
  const int64_t last = first + static_cast<int64_t>(out.size()) - 1;
  for (int64_t block = first / kBlockTokens; block <= last / kBlockTokens; ++block) {
    if (!verified_[block].load(std::memory_order_relaxed)) verify_block(block);
  }
  bytes_per_token_ == 2 ? widen<uint16_t>(data_, first, out) : widen<uint32_t>(data_, first, out);
}

void ShardReader::prefetch(int64_t first, int64_t count) const {
  constexpr int64_t kCacheLine = 64;
  const std::byte *begin = data_ + first * bytes_per_token_, *end = begin + count * bytes_per_token_;
  for (const std::byte* at = begin; at < end; at += kCacheLine) __builtin_prefetch(at);
}

void ShardReader::verify() const {
  for (int64_t block = 0; block < blocks_of(info_.tokens); ++block) {
    verify_block(block);
    file_.release();
  }
}

void ShardReader::verify_block(int64_t block) const {
  const int64_t first = block * kBlockTokens, count = std::min(kBlockTokens, info_.tokens - first);
  const std::byte* data = data_ + first * bytes_per_token_;
  const std::string place =
      path_.string() + ": tokens " + std::to_string(first) + " to " + std::to_string(first + count - 1);
  MARA_CHECK(io::xxh3(data, static_cast<size_t>(count * bytes_per_token_)) == checksums_[static_cast<size_t>(block)],
             place, " are not what was written (checksum); the file is damaged: copy it again, or tokenize again");
  const uint32_t id = bytes_per_token_ == 2 ? largest<uint16_t>(data, count) : largest<uint32_t>(data, count);
  MARA_CHECK(id < info_.vocabulary, place, " hold the id ", id, ", ids must be below vocab_size ", info_.vocabulary);
  verified_[block].store(true, std::memory_order_relaxed);
}

}  // namespace mara::data
