#include "io/guard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>

#include "core/error.h"
#include "io/file.h"
#include "io/hash.h"

namespace mara::io {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian, and so is their memory");

constexpr uint32_t kVersion = 1;
constexpr std::array<char, 8> kMagic{'\x89', 'M', 'A', 'R', 'A', '\r', '\n', '\x1a'};
constexpr int64_t kPiece = 1 << 20;

struct Block {
  std::array<char, 8> magic{};
  uint32_t version = 0, kind = 0;
  uint64_t length = 0, hash = 0;
  uint64_t excluded_count = 0;
  std::array<std::array<uint64_t, 2>, kMaxExcluded> excluded{};
  std::array<char, 504 - 40 - 16 * kMaxExcluded> zeros{};
  uint64_t block_hash = 0;

  uint64_t own_hash() const { return xxh3(this, offsetof(Block, block_hash)); }
};
static_assert(sizeof(Block) == kGuardBytes && offsetof(Block, excluded) == 40 && offsetof(Block, block_hash) == 504);

void hash_range(const File& file, ByteRange range, std::vector<char>& piece, Xxh3& hash) {
  for (int64_t at = range.begin; at < range.end;) {
    const int64_t count = std::min(range.end - at, kPiece);
    file.read(piece.data(), count, at);
    hash.update(piece.data(), static_cast<size_t>(count));
    at += count;
  }
}

uint64_t hash_guarded(const File& file, int64_t length, const std::vector<ByteRange>& excluded) {
  std::vector<char> piece(static_cast<size_t>(std::min(length, kPiece)));
  Xxh3 hash;
  int64_t at = kGuardBytes;
  for (const ByteRange& range : excluded) {
    hash_range(file, {at, range.begin}, piece, hash);
    at = range.end;
  }
  hash_range(file, {at, length}, piece, hash);
  return hash.digest();
}

}  // namespace

std::string to_string(FileKind kind) {
  switch (kind) {
    case FileKind::checkpoint:
      return "checkpoint";
    case FileKind::shard:
      return "token shard";
    case FileKind::weights:
      return "weights file";
  }
  return "kind " + std::to_string(static_cast<uint32_t>(kind));
}

void seal(const std::filesystem::path& path, FileKind kind, const std::vector<ByteRange>& excluded) {
  File file = File::open_to_write(path);
  const int64_t length = file.size();
  Block block{.magic = kMagic,
              .version = kVersion,
              .kind = static_cast<uint32_t>(kind),
              .length = static_cast<uint64_t>(length),
              .excluded_count = excluded.size()};
  MARA_ASSERT(excluded.size() <= kMaxExcluded);
  for (size_t i = 0; i < excluded.size(); ++i) {
    block.excluded[i] = {static_cast<uint64_t>(excluded[i].begin), static_cast<uint64_t>(excluded[i].end)};
  }
  block.hash = hash_guarded(file, length, excluded);
  block.block_hash = block.own_hash();
  file.write(&block, sizeof block, 0);
}

std::optional<FileKind> kind_of(const std::filesystem::path& path) {
  std::error_code none;
  if (!std::filesystem::is_regular_file(path, none)) return std::nullopt;
  Block block;
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(&block), sizeof block);
  if (!file || block.magic != kMagic) return std::nullopt;
  return static_cast<FileKind>(block.kind);
}

Guard verify(const std::filesystem::path& path, FileKind kind) {
  const std::string name = path.string();
  const File file = File::open_to_read(path);
  const int64_t size = file.size();
  Block block;
  std::memset(static_cast<void*>(&block), 0, sizeof block);
  file.read(&block, std::min<int64_t>(size, kGuardBytes), 0);
  MARA_CHECK(size >= static_cast<int64_t>(kMagic.size()) && block.magic == kMagic, name, ": a ", kind,
             " of Mara is required, this is not one: it does not begin with Mara's mark");
  MARA_CHECK(size >= kGuardBytes, name, ": cut short: ", size, " bytes are left, not even the first ", kGuardBytes,
             "; use another copy");
  MARA_CHECK(block.block_hash == block.own_hash(), name, ": corrupt: the first ", kGuardBytes,
             " bytes do not have the checksum they name; use another copy");
  MARA_CHECK(block.version == kVersion, name, ": version ", kVersion, " of Mara's files is required, this is version ",
             block.version, "; use the program that wrote it");
  MARA_CHECK(block.kind == static_cast<uint32_t>(kind), name, ": a ", kind, " is required, this is a ",
             static_cast<FileKind>(block.kind));
  MARA_CHECK(block.length == static_cast<uint64_t>(size), name,
             block.length > static_cast<uint64_t>(size) ? ": cut short: " : ": something was appended: ", block.length,
             " bytes were written, ", size, " are there; use another copy");

  Guard guard{.kind = kind, .length = size};
  uint64_t last = kGuardBytes;
  for (uint64_t i = 0; i < block.excluded_count; ++i) {
    const bool fits = block.excluded_count <= kMaxExcluded && block.excluded[i][0] >= last &&
                      block.excluded[i][1] >= block.excluded[i][0] && block.excluded[i][1] <= block.length;
    MARA_CHECK(fits, name, ": the first ", kGuardBytes, " bytes name parts left out of the checksum that are not in ",
               "the file or not in order; write it again");
    last = block.excluded[i][1];
    guard.excluded.push_back({static_cast<int64_t>(block.excluded[i][0]), static_cast<int64_t>(last)});
  }
  MARA_CHECK(block.hash == hash_guarded(file, size, guard.excluded), name, ": corrupt: its ", size,
             " bytes do not have the checksum that was written; use another copy");
  return guard;
}

}  // namespace mara::io
