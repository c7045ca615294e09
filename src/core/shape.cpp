#include "core/shape.h"

namespace mara {

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (int i = 0; i < shape.rank; ++i) text += (i ? ", " : "") + std::to_string(shape.dim[i]);
  return text + ")";
}

}  // namespace mara
