#pragma once

#include "core/tensor.h"

namespace mara::nn {

/// What came in so far along the sequence axis of (M, N, L, ...), in memory for the longest sequence. Copies are
/// independent.
class SequenceCache {
 public:
  SequenceCache(const Shape& shape, Dtype dtype, Device device) : data_(Tensor::empty(shape, dtype, device)) {}
  SequenceCache(const SequenceCache& other);
  SequenceCache(SequenceCache&&) = default;
  SequenceCache& operator=(SequenceCache) = delete;

  /// `x` (M, N, T, ...) of any strides and floating dtype. Throws Error where there is no room left.
  void append(const Tensor& x);
  /// (M, N, size, ...): a strided view.
  Tensor seen() const;
  int64_t size() const { return size_; }

 private:
  Tensor data_;
  int64_t size_ = 0;
};

}  // namespace mara::nn
