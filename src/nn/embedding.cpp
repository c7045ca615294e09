#include "nn/embedding.h"

#include "ops/gather.h"

namespace mara::nn {

Embedding::Embedding(int64_t rows, int64_t width, const Init& init, Dtype out)
    : table_(param("table", {rows, width}, init, {.decay = Decay::vector})), out_(out) {}

Tensor Embedding::forward(const Tensor& ids) const { return ops::embedding(table_.value(), ids, out_); }

}  // namespace mara::nn
