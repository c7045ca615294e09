#include "models/model.h"

#include <stdexcept>

#include "core/error.h"

namespace mara::models {

Batch Batch::empty(int64_t rows, const ExampleForm& form, Device device) {
  Batch out;
  if (form.features > 0) {
    out.inputs = Tensor::empty({rows, form.length, form.features}, Dtype::f32, device);
  } else {
    out.ids = Tensor::empty({rows, form.length}, Dtype::i32, device);
  }
  out.targets = Tensor::empty({rows, form.targets}, Dtype::i32, device);
  if (form.values) out.values = Tensor::empty({rows, form.targets}, Dtype::f32, device);
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
