#include "models/model.h"

#include <stdexcept>

#include "core/error.h"

namespace mara::models {

Generation Model::start(int64_t, int64_t) const {
  throw Error("generating: this kind of model cannot go on token by token; use one of another kind");
}
Tensor Model::prefill(const Tensor&, Generation&) const {
  throw std::logic_error("internal error: a model that starts must also go on");
}

}  // namespace mara::models
