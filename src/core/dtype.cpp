#include "core/dtype.h"

namespace mara {

std::string to_string(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32:
      return "f32";
    case Dtype::bf16:
      return "bf16";
    case Dtype::f64:
      return "f64";
    case Dtype::i32:
      return "i32";
  }
  return "unknown dtype";
}

Dtype parse_dtype(std::string_view name) {
  for (Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f64, Dtype::i32}) {
    if (to_string(dtype) == name) return dtype;
  }
  throw Error(detail::join({"dtype: one of f32, bf16, f64, i32 is required, got '", name, "'"}));
}

}  // namespace mara
