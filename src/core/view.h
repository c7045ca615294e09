#pragma once
// The plain-data face of a tensor: all that a kernel ever sees.

#include "core/dtype.h"
#include "core/shape.h"

namespace mara {

/// Typed accessor x(i, j, k) made by View::as.
template <class T, int Rank>
struct Accessor {
  T* data;
  std::array<int64_t, Rank> size;
  std::array<int64_t, Rank> stride;

  template <class... Index>
  T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == Rank);
    int64_t offset = 0;
    int axis = 0;
    ((MARA_ASSERT(index >= 0 && index < size[axis]), offset += index * stride[axis++]), ...);
    return data[offset];
  }
};

/// Data pointer, dtype, sizes and strides (in elements). An absent optional argument is an empty View.
struct View {
  void* data = nullptr;
  Dtype dtype = Dtype::f32;
  Shape shape;
  Strides stride{};
  bool present = false;  // false: the argument was left out (data alone cannot tell, meta tensors have none)

  explicit operator bool() const { return present; }
  int64_t size(int axis) const { return shape.dim[axis]; }
  int64_t numel() const { return shape.numel(); }
  bool contiguous() const { return is_contiguous(shape, stride); }

  template <class T>
  T* ptr() const {
    return static_cast<T*>(data);
  }
  template <class T, int Rank>
  Accessor<T, Rank> as() const {
    MARA_ASSERT(shape.rank == Rank);
    Accessor<T, Rank> out{ptr<T>(), {}, {}};
    for (int i = 0; i < Rank; ++i) out.size[i] = shape.dim[i], out.stride[i] = stride[i];
    return out;
  }
};

}  // namespace mara
