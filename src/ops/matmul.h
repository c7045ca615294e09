#pragma once
// Matrix products. Accumulated in f32 (f64 for f64).

#include "core/tensor.h"
#include "kernels/elementwise.h"

namespace mara::ops {

struct Transpose {
  bool a = false, b = false;
};

/// c = op(a) op(b), op(x) = x or x^T on the last two axes. (m, k) x (k, n), or batched (i, m, k) x (i, k, n), or
/// (..., m, k) x (k, n) without a transposed a. f32, bf16 or f64, both the same. Saves a and b.
Tensor matmul(const Tensor& a, const Tensor& b, Transpose transpose = {});

/// y = x weight^T + bias: (..., D) -> (..., E). weight (E, D) in x's dtype, bias (E) f32 | f64 or absent. Saves x.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// y = f(x in^T + in_bias) out^T + out_bias: (..., D) -> (..., F) -> (..., E). in (F, D) and out (E, F) as weights of
/// linear, the biases too. The function goes with the products, forward and backward, as their epilogue, which where a
/// device has it saves the passes over (..., F). Saves x and two tensors of (..., F): f's argument and its value.
Tensor mlp(const Tensor& x, const Tensor& in, const Tensor& in_bias, const Tensor& out, const Tensor& out_bias,
           kernels::Unary function);

/// The product of linear with the result channel-major: (B, L, D) -> (E, B, L). What convolution mixers read.
Tensor linear_to_channels(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// The same product from a channel-major input: (D, B, L) -> (B, L, E).
Tensor linear_from_channels(const Tensor& u, const Tensor& weight, const Tensor& bias = {});

}  // namespace mara::ops
