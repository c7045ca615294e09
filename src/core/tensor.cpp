#include "core/tensor.h"

#include <cstring>

#include "core/runtime.h"

namespace mara {
namespace {

thread_local int forbidden_host_reads = 0;

}  // namespace

HostReadsForbidden::HostReadsForbidden() { ++forbidden_host_reads; }
HostReadsForbidden::~HostReadsForbidden() { --forbidden_host_reads; }

Tensor Tensor::empty(const Shape& shape, Dtype dtype, Device device, const char* op) {
  int64_t bytes = size_of(dtype);
  for (int i = 0; i < shape.rank; ++i) {
    MARA_CHECK(shape[i] >= 0 && !__builtin_mul_overflow(bytes, shape[i], &bytes), "tensor: a shape of fewer than 2^63 ",
               "bytes is required, got ", shape, " ", dtype);
  }
  Tensor out;
  out.storage_ = std::make_shared<Storage>(current_pool(device), bytes, op);
  out.shape_ = shape;
  out.stride_ = contiguous_strides(shape);
  out.dtype_ = dtype;
  return out;
}

Tensor Tensor::from(std::span<const double> values, const Shape& shape, Dtype dtype, Device device) {
  MARA_CHECK(static_cast<int64_t>(values.size()) == shape.numel(), "Tensor::from: shape ", shape, " needs ",
             shape.numel(), " values, got ", values.size());
  MARA_CHECK(is_float(dtype), "Tensor::from: a floating dtype is required, got ", dtype);
  Tensor out = empty(shape, dtype, device);
  dispatch_float(dtype, [&]<class T>() {
    std::vector<T> converted(values.size());
    for (size_t i = 0; i < values.size(); ++i) converted[i] = T(static_cast<Compute<T>>(values[i]));
    runtime(device).copy_to_device(out.storage_->data(), converted.data(), converted.size() * sizeof(T));
  });
  return out;
}

Tensor Tensor::from(std::span<const int32_t> values, const Shape& shape, Device device) {
  MARA_CHECK(static_cast<int64_t>(values.size()) == shape.numel(), "Tensor::from: shape ", shape, " needs ",
             shape.numel(), " values, got ", values.size());
  Tensor out = empty(shape, Dtype::i32, device);
  runtime(device).copy_to_device(out.storage_->data(), values.data(), values.size_bytes());
  return out;
}

Tensor Tensor::wrap(std::shared_ptr<Storage> storage, int64_t byte_offset, const Shape& shape, Dtype dtype) {
  Tensor out;
  out.storage_ = std::move(storage);
  out.byte_offset_ = byte_offset;
  out.shape_ = shape;
  out.stride_ = contiguous_strides(shape);
  out.dtype_ = dtype;
  return out;
}

View Tensor::view() const {
  if (!defined()) return {};
  void* base = storage_->data();
  return {base == nullptr ? nullptr : static_cast<char*>(base) + byte_offset_, dtype_, shape_, stride_, true};
}

Tensor Tensor::reshape(Shape shape) const {
  MARA_CHECK(contiguous(), "reshape: a contiguous tensor is required, ", shape_,
             " is strided; call contiguous() first");
  int64_t known = 1;
  int inferred = -1;
  for (int i = 0; i < shape.rank; ++i) {
    if (shape[i] == -1 && inferred < 0) {
      inferred = i;
    } else {
      known *= shape[i];
    }
  }
  if (inferred >= 0) shape[inferred] = known == 0 ? 0 : numel() / known;
  MARA_CHECK(shape.numel() == numel(), "reshape: ", shape_, " has ", numel(), " elements, ", shape, " has ",
             shape.numel());
  Tensor out = *this;
  out.shape_ = shape;
  out.stride_ = contiguous_strides(shape);
  return out;
}

Tensor Tensor::narrow(int64_t start, int64_t count) const {
  MARA_CHECK(rank() >= 1 && contiguous(), "narrow: a contiguous tensor with at least one axis is required");
  MARA_CHECK(start >= 0 && count >= 0 && start + count <= shape_[0], "narrow: entries ", start, " to ", start + count,
             " of an axis of size ", shape_[0]);
  const int64_t row = shape_[0] == 0 ? 0 : numel() / shape_[0];
  Tensor out = *this;
  out.shape_[0] = count;
  out.stride_ = contiguous_strides(out.shape_);
  out.byte_offset_ += start * row * size_of(dtype_);
  out.place_.offset += start * row;
  return out;
}

Tensor Tensor::detach() const {
  Tensor out = *this;
  out.place_ = {};
  return out;
}

Tensor Tensor::strided(const Shape& shape, const Strides& stride, int64_t extra_offset) const {
  Tensor out = detach();
  out.shape_ = shape;
  out.stride_ = stride;
  out.byte_offset_ += extra_offset * size_of(dtype_);
  return out;
}

std::vector<double> Tensor::to_host() const {
  if (forbidden_host_reads > 0) throw std::logic_error("internal error: a tensor was read on the host inside a step");
  MARA_CHECK(contiguous(), "to_host: a contiguous tensor is required");
  std::vector<double> out(static_cast<size_t>(numel()));
  if (dtype_ == Dtype::i32) {
    const std::vector<int32_t> values = to_host_i32();
    return {values.begin(), values.end()};
  }
  dispatch_float(dtype_, [&]<class T>() {
    std::vector<T> raw(out.size());
    runtime(device()).copy_to_host(raw.data(), view().data, raw.size() * sizeof(T));
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(static_cast<Compute<T>>(raw[i]));
  });
  return out;
}

std::vector<int32_t> Tensor::to_host_i32() const {
  if (forbidden_host_reads > 0) throw std::logic_error("internal error: a tensor was read on the host inside a step");
  MARA_CHECK(dtype_ == Dtype::i32 && contiguous(), "to_host_i32: a contiguous i32 tensor is required");
  std::vector<int32_t> out(static_cast<size_t>(numel()));
  runtime(device()).copy_to_host(out.data(), view().data, out.size() * sizeof(int32_t));
  return out;
}

double Tensor::item() const {
  MARA_CHECK(numel() == 1, "item: a tensor with one element is required, got ", shape_);
  return to_host()[0];
}

}  // namespace mara
