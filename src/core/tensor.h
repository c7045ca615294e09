#pragma once
// Refcounted storage + shape + strides + runtime dtype + a place on the tape.

#include <memory>
#include <span>
#include <vector>

#include "core/device.h"
#include "core/pool.h"
#include "core/view.h"

namespace mara {

/// Where a tensor's gradient is collected. Written and read by autograd only; a contiguous view keeps the place of
/// its base and adds its offset, so gradients of reshaped and narrowed tensors need no ops of their own.
struct Place {
  const void* owner = nullptr;  // a Tape, or a Leaf when node < 0; null: not tracked
  int32_t node = -1;
  int64_t offset = 0;  // in elements, into the gradient of the node or leaf
};

/// Cheap to copy: copies share the storage. A default-constructed tensor stands for an absent optional input.
class Tensor {
 public:
  Tensor() = default;

  /// Uninitialised, contiguous, from the device's current pool, where it goes by the name of the calling function until
  /// an op records it.
  static Tensor empty(const Shape& shape, Dtype dtype, Device device, const char* op = __builtin_FUNCTION());
  static Tensor empty_like(const Tensor& other, const char* op = __builtin_FUNCTION()) {
    return empty(other.shape(), other.dtype(), other.device(), op);
  }
  /// A copy of host values, converted to `dtype`. `values` must have shape.numel() elements.
  static Tensor from(std::span<const double> values, const Shape& shape, Dtype dtype, Device device);
  static Tensor from(std::span<const int32_t> values, const Shape& shape, Device device);
  /// A view of memory someone else keeps alive through `storage` (the parameter arena).
  static Tensor wrap(std::shared_ptr<Storage> storage, int64_t byte_offset, const Shape& shape, Dtype dtype);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  const Strides& strides() const { return stride_; }
  int rank() const { return shape_.rank; }
  int64_t size(int axis) const { return shape_.dim[shape_.axis(axis)]; }  // negative axes count from the end
  int64_t numel() const { return shape_.numel(); }
  Dtype dtype() const { return dtype_; }
  Device device() const { return storage_->pool().device(); }
  bool contiguous() const { return is_contiguous(shape_, stride_); }

  /// The only way to the data. Empty for an absent tensor.
  View view() const;

  /// Same data, other shape; an axis of -1 is inferred. The tensor must be contiguous. Keeps its place on the tape.
  Tensor reshape(Shape shape) const;
  /// `count` entries of the first axis from `start`. The tensor must be contiguous. Keeps its place on the tape.
  Tensor narrow(int64_t start, int64_t count) const;
  /// Same data without a place on the tape.
  Tensor detach() const;
  /// Same data with axes sizes and strides given: for ops that record the gradient themselves. Not tracked.
  Tensor strided(const Shape& shape, const Strides& stride, int64_t extra_offset) const;

  /// Copies to the host; waits for the device. Not allowed inside a step (see HostReadsForbidden).
  std::vector<double> to_host() const;
  std::vector<int32_t> to_host_i32() const;
  double item() const;

  const Place& place() const { return place_; }
  void set_place(const Place& place) { place_ = place; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }

 private:
  std::shared_ptr<Storage> storage_;
  int64_t byte_offset_ = 0;
  Shape shape_;
  Strides stride_{};
  Dtype dtype_ = Dtype::f32;
  Place place_;
};

/// While in scope, reading a tensor on the host throws: a step must never wait for the device. Active in every
/// step on every device, so that a laptop finds the mistake.
class HostReadsForbidden {
 public:
  HostReadsForbidden();
  ~HostReadsForbidden();
  HostReadsForbidden(const HostReadsForbidden&) = delete;
  HostReadsForbidden& operator=(const HostReadsForbidden&) = delete;
};

}  // namespace mara
