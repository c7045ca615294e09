#pragma once
// The part of HDF5 our files use: contiguous, unfiltered datasets and attributes in the root group, behind the guard.
// The library itself handles names, shapes and places only; the data goes through ordinary file calls, so several
// threads may write and read different files at once.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/shape.h"
#include "io/guard.h"

namespace mara::io {

/// Little-endian in the file. bf16 is u16 with the attribute dtype = "bfloat16".
enum class ElementType : uint8_t { u8, u16, u32, u64, i32, i64, f32, bf16, f64 };
std::string to_string(ElementType type);
int64_t size_of(ElementType type);
ElementType element_type(Dtype dtype);

struct Dataset {
  std::string name;
  ElementType type = ElementType::u8;
  Shape shape;
  ByteRange bytes;  // in the file; empty for a dataset without elements
};

/// Writes one file: declare datasets, write their elements, finish. Leaving it unfinished leaves an unusable file
/// behind, which the AtomicFile around it removes. Throws Failure when the system refuses.
class Hdf5Writer {
 public:
  /// `path` must not exist. `data_bytes`: of all datasets together, reserved at once so that a full disk shows here.
  Hdf5Writer(const std::filesystem::path& path, int64_t data_bytes);
  ~Hdf5Writer();

  /// Adds a dataset, its elements undefined until written. Names have no '/'.
  Dataset declare(const std::string& name, ElementType type, const Shape& shape);
  /// Elements [first, first + bytes / size), in row-major order.
  void write(const Dataset& dataset, int64_t first, const void* elements, int64_t bytes);
  /// Declares and writes a whole dataset.
  Dataset add(const std::string& name, ElementType type, const Shape& shape, const void* elements);

  /// Of the file, or of a dataset. Texts are UTF-8 of at most 60,000 bytes.
  void attribute(const std::string& name, std::string_view text);
  void attribute(const std::string& name, int64_t value);
  void attribute(const Dataset& dataset, const std::string& name, std::string_view text);

  /// Completes the file and seals it; the bytes of `unguarded` are left out of the seal's checksum.
  void finish(FileKind kind, const std::vector<Dataset>& unguarded = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Opens a file whose guard has been verified, and accepts only what Hdf5Writer can have written: datasets in the
/// root group, contiguous, without filters, links, external storage or overlaps. Throws Error naming file and place.
class Hdf5Reader {
 public:
  Hdf5Reader(const std::filesystem::path& path, FileKind kind);
  ~Hdf5Reader();
  Hdf5Reader(Hdf5Reader&&) noexcept;

  const std::filesystem::path& path() const;
  const Guard& guard() const;
  const std::vector<Dataset>& datasets() const;      // by name
  const Dataset* find(std::string_view name) const;  // null if absent
  /// Throws Error unless there is such a dataset, of this type and number of axes.
  const Dataset& require(std::string_view name, ElementType type, int rank) const;

  /// Elements from `first` on, as many as fill `out`.
  void read(const Dataset& dataset, int64_t first, std::span<std::byte> out) const;
  /// The whole dataset.
  template <class T>
  std::vector<T> read(const Dataset& dataset) const {
    MARA_ASSERT(static_cast<int64_t>(sizeof(T)) == size_of(dataset.type));
    std::vector<T> out(static_cast<size_t>(dataset.shape.numel()));
    read(dataset, 0, std::as_writable_bytes(std::span(out)));
    return out;
  }

  bool has_attribute(const std::string& name) const;
  /// Throws Error for an absent attribute, and for one of another type.
  std::string text(const std::string& name) const;
  int64_t integer(const std::string& name) const;
  std::string text(const Dataset& dataset, const std::string& name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mara::io
