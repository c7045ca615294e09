#pragma once
// The 512 bytes in front of every HDF5 file of ours (an HDF5 user block), looked at before the HDF5 library sees the
// file. Without it a flipped bit is read as other content, crashes the library or hangs it.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mara::io {

inline constexpr int64_t kGuardBytes = 512;
inline constexpr int kMaxExcluded = 16;

enum class FileKind : uint32_t { checkpoint = 1, shard = 2, weights = 3 };
std::string to_string(FileKind kind);

/// Bytes [begin, end) of a file.
struct ByteRange {
  int64_t begin = 0, end = 0;
  bool operator==(const ByteRange&) const = default;
};

/// The block, little-endian:
///     0  8 bytes  magic "\x89MARA\r\n\x1a"
///     8  u32      version, 1
///    12  u32      kind of file
///    16  u64      length of the file, these 512 bytes included
///    24  u64      xxh3 of the bytes from 512 to the end, those of the excluded ranges left out
///    32  u64      number of excluded ranges, at most 16
///    40  u64 x 2  each range: first byte, one past the last; ascending, apart from each other
///         zeros up to 504
///   504  u64      xxh3 of bytes 0 to 503
struct Guard {
  FileKind kind = FileKind::checkpoint;
  int64_t length = 0;
  std::vector<ByteRange> excluded;  // guarded by other means (the tokens of a shard)
};

/// Writes the block of a finished file that has left room for it. One pass through the file, 1 MB of memory.
void seal(const std::filesystem::path& path, FileKind kind, const std::vector<ByteRange>& excluded = {});

/// What the first bytes of a file say it is: none for what is not ours, or cannot be read. Nothing is checked.
std::optional<FileKind> kind_of(const std::filesystem::path& path);

/// Checks block, length and checksum in one pass through the file; what can be seen from the first 512 bytes is seen
/// before reading on. Throws Error naming the file, the place and what to do.
Guard verify(const std::filesystem::path& path, FileKind kind);

}  // namespace mara::io
