#include "nn/sequence_cache.h"

#include "kernels/kernels.h"
#include "ops/shape_ops.h"

namespace mara::nn {
namespace {

constexpr int kSequence = 2;

void copy(const Tensor& from, const Tensor& to) {
  auto [k, stream] = kernels::on(to.device());
  k.copy(stream, {.x = from.view(), .y = to.view()});
}

}  // namespace

SequenceCache::SequenceCache(const SequenceCache& other) : data_(Tensor::empty_like(other.data_)), size_(other.size_) {
  copy(other.seen(), seen());
}

void SequenceCache::append(const Tensor& x) {
  MARA_CHECK(size_ + x.size(kSequence) <= data_.size(kSequence), "generating: the state holds ", data_.size(kSequence),
             " positions, ", size_, " are there and ", x.size(kSequence), " came; start with a greater length");
  copy(x, ops::slice(data_, kSequence, size_, x.size(kSequence)));
  size_ += x.size(kSequence);
}

Tensor SequenceCache::seen() const { return ops::slice(data_, kSequence, 0, size_); }

}  // namespace mara::nn
