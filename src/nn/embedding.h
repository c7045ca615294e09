#pragma once

#include "nn/module.h"

namespace mara::nn {

/// A table (rows, width): one learned vector per token id or position, and as such decayed or not.
class Embedding : public Module {
 public:
  Embedding(int64_t rows, int64_t width, const Init& init, Dtype out);

  Tensor forward(const Tensor& ids) const;  // (...) i32 -> (..., width) in dtype `out`
  const Tensor& table() const { return table_.value(); }

 private:
  Parameter& table_;
  Dtype out_;
};

}  // namespace mara::nn
