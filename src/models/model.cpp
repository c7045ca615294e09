#include "models/model.h"

#include <stdexcept>

#include "core/error.h"

namespace mara::models {

Batch Batch::empty(int64_t rows, const ModelSetup& setup, Device device) {
  Batch out;
  if (setup.features > 0) {
    out.inputs = Tensor::empty({rows, setup.length, setup.features}, Dtype::f32, device);
  } else {
    out.ids = Tensor::empty({rows, setup.length}, Dtype::i32, device);
  }
  out.targets = Tensor::empty({rows, setup.targets}, Dtype::i32, device);
  if (setup.values) out.values = Tensor::empty({rows, setup.targets}, Dtype::f32, device);
  return out;
}

Tensor Model::logits(const Tensor&, const nn::Context&) {
  throw Error("logits: this kind of model does not predict a token at every position; use a language_model");
}

Generation Model::start(int64_t, int64_t) const {
  throw Error("generating: this kind of model cannot go on token by token; use one of another kind");
}
Tensor Model::prefill(const Tensor&, Generation&) const {
  throw std::logic_error("internal error: a model that starts must also go on");
}

}  // namespace mara::models
