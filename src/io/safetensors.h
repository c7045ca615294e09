#pragma once
// The safetensors format: 8 bytes with the length N of a JSON header, the header, then the tensors' bytes
// (https://github.com/huggingface/safetensors). Only what the format allows is read, and nothing is believed before it
// has been checked: no hostile file costs more than a few times kLargestHeader.

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "io/file.h"
#include "io/guard.h"

namespace mara::io {

/// The format allows 100 MB; 4 MB hold the names of 30,000 tensors.
inline constexpr int64_t kLargestHeader = 4'000'000;

/// A tensor without gaps, row-major and little-endian.
struct SafeTensor {
  std::string name;
  std::string_view dtype;  // in the format's words: "F32", "BF16", "I64", ...
  Shape shape;
  ByteRange bytes;  // from the first byte of data, which follows the header
};

/// The format's word for a dtype.
std::string_view safetensors_dtype(Dtype dtype);

using SafeMetadata = std::map<std::string, std::string>;

struct SafetensorsHeader {
  std::vector<SafeTensor> tensors;  // by name
  SafeMetadata metadata;
};

/// Reads and checks a header that `data_bytes` of data follow: UTF-8 JSON of the format's own form, no key twice, known
/// dtypes, plain names, shapes of at most five axes that agree with the bytes, and tensors that cover the data without
/// gap, overlap or rest. Throws Error that names `file` and the place.
SafetensorsHeader parse_safetensors(std::string_view header, int64_t data_bytes, const std::string& file);

/// An open file whose header has been checked.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<SafeTensor>& tensors() const { return header_.tensors; }  // by name
  const SafeMetadata& metadata() const { return header_.metadata; }
  const SafeTensor* find(std::string_view name) const;  // null if absent
  /// The bytes of a tensor from `first` on, as many as fill `out`.
  void read(const SafeTensor& tensor, int64_t first, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  File file_;
  int64_t data_begin_ = 0;
  SafetensorsHeader header_;
};

/// Writes one file: all tensors are declared first, as the header comes first. Leaving some unwritten leaves an
/// unusable file behind, which the AtomicFile around it removes. Throws Failure when the system refuses.
class SafetensorsWriter {
 public:
  struct Declared {
    std::string name;
    std::string_view dtype;
    Shape shape;
  };
  /// `path` must not exist; the room for all data is taken at once. Throws Error for names that are not unique and for
  /// what the reader refuses: names that are not plain, texts that are not UTF-8, too many of them. Tensors lie in the
  /// file by dtype, those of the widest alignment first, then by name; data begins at a multiple of 64.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<Declared>& tensors,
                    const SafeMetadata& metadata);

  /// A whole tensor.
  void write(const std::string& name, std::span<const std::byte> data);

 private:
  File file_;
  int64_t data_begin_ = 0;
  std::map<std::string, ByteRange> places_;
};

}  // namespace mara::io
