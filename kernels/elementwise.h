#pragma once
// Elementwise kernels. Dtypes are f32, bf16 or f64 unless said otherwise; bf16 is widened, computed in f32, rounded.

#include <cstdint>

#include "core/view.h"

namespace mara::kernels {

/// y[...] = value
struct Fill {
  View y;  // contiguous, any dtype
  double value = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.out("y", y);
    v.option("value", value);
  }
};

/// y = x, or y += x. Any strides on both sides, any pair of floating dtypes (this is also the cast), or i32 to i32.
struct Copy {
  View x, y;  // same shape
  bool accumulate = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.out("y", y, accumulate);
  }
};

/// gelu_tanh: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); gelu: x/2 (1 + erf(x / sqrt 2)); silu: x sigmoid(x);
/// relu: max(x, 0); relu_squared: max(x, 0)^2; sin; exp; sigmoid; abs, with derivative sign(x) and 0 at 0;
/// reciprocal: 1 / x.
enum class Unary : uint8_t { gelu_tanh, gelu, silu, relu, relu_squared, sin, exp, sigmoid, abs, reciprocal };

/// y = f(x)
struct UnaryForward {
  Unary function;
  View x, y;  // contiguous, same shape and dtype

  template <class Visitor>
  void visit(Visitor& v) {
    v.option("function", function);
    v.in("x", x);
    v.out("y", y);
  }
};
/// dx = dy f'(x)
struct UnaryBackward {
  Unary function;
  View x, dy, dx;  // contiguous, same shape and dtype

  template <class Visitor>
  void visit(Visitor& v) {
    v.option("function", function);
    v.in("x", x);
    v.in("dy", dy);
    v.out("dx", dx);
  }
};

/// y = a + b or a * b. b's shape is a suffix of a's (broadcast over the leading axes) or equal to it.
struct Binary {
  View a, b, y;  // contiguous; a, b and y may have different floating dtypes, y has a's shape

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("a", a);
    v.in("b", b);
    v.out("y", y);
  }
};

/// y = factor * device_factor * x
struct Scale {
  View x, y;  // contiguous, same shape
  double factor = 1;
  View device_factor;  // one element, f32 or f64, or empty: read on the device

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.out("y", y);
    v.option("factor", factor);
    v.in("device_factor", device_factor);
  }
};

/// y = mask ? a : b, elementwise; an absent a or b counts as zero. Never multiplies, so 0 * inf cannot arise.
struct Select {
  View mask;  // i32; its shape is a prefix of y's (broadcast over the trailing axes)
  View a, b;  // contiguous, dtype and shape of y, or empty
  View y;

  template <class Visitor>
  void visit(Visitor& v) {
    v.index("mask", mask, 2);
    v.in("a", a);
    v.in("b", b);
    v.out("y", y);
  }
};

/// y = x / (1 - p) where a uniform number in [0, 1) is >= p, else 0. The number is philox(seed, purpose dropout;
/// *step, op, element / 4)[element % 4]; applying the kernel to dy gives dx, so no mask is stored.
struct Dropout {
  View x, y;  // contiguous, same shape and dtype
  float p = 0;
  uint64_t seed = 0;
  const int64_t* step = nullptr;  // device memory
  uint32_t op = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.out("y", y);
    v.option("p", p);
    v.values("step", step, 1, [](int64_t) { return int64_t{3}; });
  }
};

}  // namespace mara::kernels
