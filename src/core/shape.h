#pragma once
// Sizes and strides of up to five axes.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/error.h"

namespace mara {

inline constexpr int kMaxRank = 5;

/// Sizes of the axes, outermost first. Rank 0 is a scalar with one element.
struct Shape {
  std::array<int64_t, kMaxRank> dim{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) {
    MARA_CHECK(sizes.size() <= kMaxRank, "shape: at most ", kMaxRank, " axes, got ", sizes.size());
    for (int64_t size : sizes) dim[rank++] = size;
  }

  int64_t operator[](int axis) const { return dim[axis]; }
  int64_t& operator[](int axis) { return dim[axis]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dim[i];
    return n;
  }
  /// Counts negative axes from the end; throws Error outside [-rank, rank).
  int axis(int index) const {
    const int resolved = index < 0 ? index + rank : index;
    MARA_CHECK(resolved >= 0 && resolved < rank, "axis ", index, " of a tensor with ", rank, " axes");
    return resolved;
  }
  /// The shape with one more axis at the end.
  Shape append(int64_t size) const {
    MARA_CHECK(rank < kMaxRank, "shape: at most ", kMaxRank, " axes");
    Shape out = *this;
    out.dim[out.rank++] = size;
    return out;
  }
  bool operator==(const Shape& other) const {
    if (rank != other.rank) return false;
    for (int i = 0; i < rank; ++i) {
      if (dim[i] != other.dim[i]) return false;
    }
    return true;
  }
};

/// "(2, 3, 4)"
std::string to_string(const Shape& shape);

using Strides = std::array<int64_t, kMaxRank>;  // in elements

/// Strides of a row-major tensor without gaps.
inline Strides contiguous_strides(const Shape& shape) {
  Strides stride{};
  int64_t step = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    stride[i] = step;
    step *= shape.dim[i];
  }
  return stride;
}

/// True if the elements lie row-major without gaps; axes of size 1 may have any stride.
inline bool is_contiguous(const Shape& shape, const Strides& stride) {
  int64_t step = 1;
  for (int i = shape.rank - 1; i >= 0; --i) {
    if (shape.dim[i] != 1 && stride[i] != step) return false;
    step *= shape.dim[i];
  }
  return true;
}

}  // namespace mara
