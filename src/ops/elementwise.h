#pragma once
// Elementwise ops. Inputs must be contiguous; f32, bf16 or f64.

#include "core/tensor.h"
#include "kernels/elementwise.h"

namespace mara::ops {

using kernels::Unary;

/// y = f(x), see kernels::Unary for the functions. Saves x.
Tensor unary(Unary function, const Tensor& x);
inline Tensor gelu_tanh(const Tensor& x) { return unary(Unary::gelu_tanh, x); }
inline Tensor gelu(const Tensor& x) { return unary(Unary::gelu, x); }
inline Tensor silu(const Tensor& x) { return unary(Unary::silu, x); }
inline Tensor relu(const Tensor& x) { return unary(Unary::relu, x); }
inline Tensor relu_squared(const Tensor& x) { return unary(Unary::relu_squared, x); }
inline Tensor sin(const Tensor& x) { return unary(Unary::sin, x); }
inline Tensor exp(const Tensor& x) { return unary(Unary::exp, x); }
inline Tensor sigmoid(const Tensor& x) { return unary(Unary::sigmoid, x); }
inline Tensor abs(const Tensor& x) { return unary(Unary::abs, x); }
inline Tensor reciprocal(const Tensor& x) { return unary(Unary::reciprocal, x); }

/// y = a + b, with b broadcast over a's leading axes if its shape is a suffix of a's. y has a's shape and dtype; b
/// may have another floating dtype (a bf16 branch added to an f32 residual). Saves nothing.
Tensor add(const Tensor& a, const Tensor& b);
/// Records `sum` as add(a, b) would: for ops whose kernel makes it on the way.
Tensor record_add(const Tensor& a, const Tensor& b, const Tensor& sum);
/// y = a * b, broadcast and dtypes as in add. Saves a and b.
Tensor mul(const Tensor& a, const Tensor& b);
/// y = factor * x. Saves nothing.
Tensor scale(const Tensor& x, double factor);
/// x (..., D) + bias (D): add under the name that says what it is for.
inline Tensor bias(const Tensor& x, const Tensor& b) { return add(x, b); }

/// A tensor of one number, made on its device. No input, no gradient.
Tensor full(const Shape& shape, double value, Dtype dtype, Device device);

/// y = x in another floating dtype. Saves nothing. Returns x itself if the dtype is the same.
Tensor cast(const Tensor& x, Dtype dtype);

}  // namespace mara::ops
