// Every requirement of an op, violated once.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "gradient_check.h"
#include "ops/attention.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/fft_conv.h"
#include "ops/gather.h"
#include "ops/loss.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/reduce.h"
#include "ops/select.h"
#include "ops/short_conv.h"

namespace mara {
namespace {

using testing::HasSubstr;

Tensor t(const Shape& shape, Dtype dtype = Dtype::f32) { return Tensor::empty(shape, dtype, kCpu); }
Tensor strided(const Shape& shape) { return ops::transpose(t(shape), 0, 1); }
constexpr Dtype kBf16 = Dtype::bf16, kI32 = Dtype::i32, kF64 = Dtype::f64;

// The message with which a call is refused.
std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "not refused";
}

#define EXPECT_REFUSED(call, message) EXPECT_THAT(refusal([&] { call; }), HasSubstr(message))

TEST(OpChecks, Elementwise) {
  EXPECT_REFUSED(ops::sin(strided({2, 3})),
                 "unary: a contiguous f32, bf16 or f64 tensor is required; call contiguous() or cast() first");
  EXPECT_REFUSED(ops::sin({}), "unary: a contiguous");
  EXPECT_REFUSED(ops::sin(t({2}, kI32)), "unary: a contiguous");
  EXPECT_REFUSED(ops::scale(t({2}, kI32), 2), "scale: a contiguous");
  EXPECT_REFUSED(ops::add(t({2}), t({2}, kI32)), "add: a contiguous");
  EXPECT_REFUSED(ops::mul(t({2}, kI32), t({2})), "mul: a contiguous");
  EXPECT_REFUSED(ops::add(t({2, 3}), t({2})),
                 "add: the second shape must equal the first or be a suffix of it, got (2, 3) and (2)");
  EXPECT_REFUSED(ops::mul(t({3}), t({2, 3})),
                 "mul: the second shape must equal the first or be a suffix of it, got (3) and (2, 3)");
  EXPECT_REFUSED(ops::cast(strided({2, 3}), kBf16), "cast: a contiguous");
  EXPECT_REFUSED(ops::cast(t({2}), kI32), "cast: a floating dtype is required, got i32");
  EXPECT_REFUSED(ops::select(t({2}, kI32), t({2}), t({3})),
                 "select: two contiguous tensors of one shape and dtype are required, got (2) and (3)");
  EXPECT_REFUSED(ops::select(t({2}, kI32), t({2}), t({2}, kF64)), "select: two contiguous");
  EXPECT_REFUSED(ops::select(t({3}, kI32), t({2, 3}), t({2, 3})),
                 "select: the mask must be i32 with a shape that is a prefix of (2, 3), got (3) i32");
  EXPECT_REFUSED(ops::select(t({2}), t({2, 3}), t({2, 3})), "got (2) f32");
  EXPECT_REFUSED(ops::dropout(t({2}), 1), "dropout: a probability in [0, 1) is required, got 1");
  EXPECT_REFUSED(ops::dropout(t({2}), -0.5), "dropout: a probability in [0, 1) is required, got -0.5");
  EXPECT_REFUSED(ops::dropout(t({2}, kI32), 0.5), "dropout: a contiguous f32, bf16 or f64 tensor");
}

TEST(OpChecks, Products) {
  EXPECT_REFUSED(ops::matmul(t({3}), t({3, 2})),
                 "matmul: contiguous tensors of at least two axes are required, got (3) and (3, 2)");
  EXPECT_REFUSED(ops::matmul(strided({3, 2}), t({3, 2})), "matmul: contiguous");
  EXPECT_REFUSED(ops::matmul(t({2, 3, 4}), t({3, 2}), {.a = true}),
                 "matmul: a batch times one matrix needs a untransposed first factor");
  EXPECT_REFUSED(ops::matmul(t({2, 3, 4}), t({3, 4, 5})),
                 "matmul: one matrix each, or two batches of the same size, is required, got (2, 3, 4) and (3, 4, 5)");
  EXPECT_REFUSED(ops::matmul(t({2, 3}), t({2, 3, 4})), "matmul: one matrix each");
  EXPECT_REFUSED(ops::matmul(t({1, 2, 3, 4}), t({1, 2, 4, 3})), "matmul: one matrix each");
  EXPECT_REFUSED(ops::matmul(t({2, 3}), t({3, 2}, kBf16)),
                 "matmul: factors must have one floating dtype, got f32 and bf16");
  EXPECT_REFUSED(ops::matmul(t({2, 3}, kI32), t({3, 2}, kI32)), "matmul: factors must have one floating dtype");
  EXPECT_REFUSED(ops::matmul(t({2, 3}), t({5, 4}), {.b = true}),
                 "matmul: inner sizes 3 and 4 differ ((2, 3) times (5, 4)^T)");
  EXPECT_REFUSED(ops::linear(t({2, 4}), t({4, 3})), "linear: weight must be (E, 4) for an input (2, 4), got (4, 3)");
  EXPECT_REFUSED(ops::linear(strided({4, 2}), t({3, 4})), "linear: weight must be (E, 4)");
  EXPECT_REFUSED(ops::linear(t({2, 4}, kBf16), t({3, 4})),
                 "linear: weight and input must have one floating dtype, got f32 and bf16");
  EXPECT_REFUSED(ops::linear(t({2, 4}), t({3, 4}), t({4})), "linear: bias must be (3) f32, got (4) f32");
  EXPECT_REFUSED(ops::linear(t({2, 4}, kBf16), t({3, 4}, kBf16), t({3}, kBf16)),
                 "linear: bias must be (3) f32, got (3) bf16");
  EXPECT_REFUSED(ops::mlp(t({2, 4}), t({6, 4}), {}, t({3, 5}), {}, ops::Unary::relu),
                 "mlp: weight must be (E, 6) for an input (2, 6), got (3, 5)");
  EXPECT_REFUSED(ops::mlp(t({2, 4}), t({6, 3}), {}, t({3, 6}), {}, ops::Unary::relu), "mlp: weight must be (E, 4)");
  EXPECT_REFUSED(ops::mlp(t({2, 4}), t({0, 4}), {}, t({3, 0}), {}, ops::Unary::relu), "mlp: an input and a hidden");
  EXPECT_REFUSED(ops::linear_to_channels(t({2, 4}), t({3, 4})),
                 "linear_to_channels: input must be (B, L, D), got (2, 4)");
  EXPECT_REFUSED(ops::linear_to_channels(t({2, 5, 4}), t({3, 5})), "linear_to_channels: weight must be");
  EXPECT_REFUSED(ops::linear_from_channels(t({2, 4}), t({3, 4})),
                 "linear_from_channels: input must be (D, B, L), got (2, 4)");
  EXPECT_REFUSED(ops::linear_from_channels(t({4, 2, 5}), t({3, 5})), "linear_from_channels: weight must be");
  EXPECT_REFUSED(
      ops::linear_cross_entropy(t({2, 4}), t({5, 3}), t({2}, kI32), false),
      "linear_cross_entropy: input (N, D) and weight (V, D) of one floating dtype are required, got (2, 4) f32 and "
      "(5, 3) f32");
  EXPECT_REFUSED(ops::linear_cross_entropy(t({2, 4}), t({5, 4}, kBf16), t({2}, kI32), false),
                 "linear_cross_entropy: input");
  EXPECT_REFUSED(ops::linear_cross_entropy(t({2, 4}), t({5, 4}), t({3}, kI32), false),
                 "linear_cross_entropy: 2 i32 targets are required, got (3) i32");
  EXPECT_REFUSED(ops::linear_cross_entropy(t({2, 4}), t({5, 4}), t({2}), false),
                 "linear_cross_entropy: 2 i32 targets are required, got (2) f32");
}

TEST(OpChecks, RowsAndShapes) {
  EXPECT_REFUSED(ops::layer_norm(strided({2, 4}), t({2}), t({2}), 1e-5, Dtype::f32),
                 "layer_norm: a contiguous f32, bf16 or f64 tensor (..., D) is required");
  EXPECT_REFUSED(ops::layer_norm(t({2, 4}), t({3}), t({4}), 1e-5, Dtype::f32),
                 "layer_norm: gain must be (4) f32, got (3) f32");
  EXPECT_REFUSED(ops::layer_norm(t({2, 4}, kBf16), t({4}), t({4}, kBf16), 1e-5, kBf16),
                 "layer_norm: bias must be (4) f32, got (4) bf16");
  EXPECT_REFUSED(ops::add_layer_norm(t({2, 4}), t({1, 4}), t({4}), t({4}), 1e-5, Dtype::f32),
                 "add_layer_norm: branch must be contiguous floating (2, 4), got (1, 4) f32");
  EXPECT_REFUSED(ops::add_rms_norm(t({2, 4}), t({2, 4}, kI32), {}, 1e-5, Dtype::f32), "got (2, 4) i32");
  EXPECT_REFUSED(ops::rms_norm(t({2, 4}, kI32), {}, 1e-5, Dtype::f32), "rms_norm: a contiguous");
  EXPECT_REFUSED(ops::rms_norm(t({2, 4}, kF64), t({4}), 1e-5, kF64), "rms_norm: gain must be (4) f64, got (4) f32");
  EXPECT_REFUSED(ops::softmax(strided({2, 4})), "softmax: a contiguous");
  EXPECT_REFUSED(ops::sum(t({2, 4}, kI32), 0), "sum: a contiguous f32, bf16 or f64 tensor is required");
  EXPECT_REFUSED(ops::sum(t({2, 4}), 2), "axis 2 of a tensor with 2 axes");
  EXPECT_REFUSED(ops::gather(strided({2, 4}), 0, t({1}, kI32)),
                 "gather: a contiguous f32, bf16 or f64 tensor is required");
  EXPECT_REFUSED(ops::gather(t({2, 4}), 0, t({1})), "gather: contiguous i32 indices are required, got f32");
  EXPECT_REFUSED(ops::gather(t({2, 4}), 0, t({1, 1}, kI32)), "gather: indices (M) are required, got (1, 1)");
  EXPECT_REFUSED(ops::embedding(t({4}), t({2}, kI32), Dtype::f32),
                 "embedding: a floating table (V, D) is required, got (4) f32");
  EXPECT_REFUSED(ops::embedding(t({4, 2}), t({2}), Dtype::f32), "embedding: contiguous i32 indices");
  EXPECT_REFUSED(ops::permute(t({2, 4}), {0}), "permute: 2 axes are required, got 1");
  EXPECT_REFUSED(ops::permute(t({2, 4}), {1, -1}), "permute: axis 1 is given twice");
  EXPECT_REFUSED(ops::transpose(t({2, 4}), 0, -3), "axis -3 of a tensor with 2 axes");
  EXPECT_REFUSED(ops::slice(t({2, 4}), 1, 3, 2), "slice: entries 3 to 5 of an axis of size 4");
  EXPECT_REFUSED(ops::slice(t({2, 4}), 1, -1, 2), "slice: entries -1 to 1");
  EXPECT_REFUSED(ops::concat({}, 0), "concat: at least one tensor is required");
  EXPECT_REFUSED(ops::concat({t({2}), t({2}, kF64)}, 0), "concat: tensors of one rank and dtype are required");
  EXPECT_REFUSED(ops::concat({t({2}), t({2, 1})}, 0), "concat: tensors of one rank");
  EXPECT_REFUSED(ops::concat({t({2, 4}), t({3, 4})}, -1),
                 "concat: shapes may differ on axis 1 only, got (2, 4) and (3, 4)");
  EXPECT_REFUSED(strided({2, 4}).reshape({8}), "reshape: a contiguous tensor is required");
  EXPECT_REFUSED(t({2, 4}).reshape({3, -1}), "reshape: (2, 4) has 8 elements, (3, 2) has 6");
  EXPECT_REFUSED(t({2, 4}).narrow(1, 2), "narrow: entries 1 to 3 of an axis of size 2");
  EXPECT_REFUSED(strided({2, 4}).narrow(0, 1), "narrow: a contiguous tensor");
}

TEST(OpChecks, Mixers) {
  const Tensor u = t({2, 3, 8}), half = t({2, 3, 8}, kBf16), k = t({2, 4});
  EXPECT_REFUSED(ops::short_conv(t({2, 8}), k, {}),
                 "short_conv: u must be contiguous floating (D, B, L), got (2, 8) f32");
  EXPECT_REFUSED(ops::short_conv(t({2, 3, 8}, kI32), k, {}), "short_conv: u must be contiguous floating");
  EXPECT_REFUSED(ops::short_conv(u, t({3, 4}), {}), "short_conv: weight must be (2, 1 to 64 taps) f32, got (3, 4) f32");
  EXPECT_REFUSED(ops::short_conv(u, t({2, 65}), {}), "got (2, 65) f32");
  EXPECT_REFUSED(ops::short_conv(u, k, {}, t({3})), "short_conv: input_bias must be (2) f32, got (3) f32");
  EXPECT_REFUSED(ops::short_conv(half, t({2, 4}, kBf16), {}), "got (2, 4) bf16");
  EXPECT_REFUSED(ops::short_conv(u, k, t({3})), "short_conv: bias must be (2) f32, got (3) f32");
  EXPECT_REFUSED(ops::short_conv(half, k, t({2}, kBf16)), "short_conv: bias must be (2) f32, got (2) bf16");
  EXPECT_REFUSED(ops::fft_conv(t({2, 3, 0}), k),
                 "fft_conv: u must be contiguous floating (D, B, L), got (2, 3, 0) f32");
  EXPECT_REFUSED(ops::fft_conv(strided({2, 3, 8}), k), "fft_conv: u must be contiguous");
  EXPECT_REFUSED(ops::fft_conv(u, t({2, 0})),
                 "fft_conv: filter must be contiguous (D, K) with at least one tap, got (2, 0)");
  EXPECT_REFUSED(ops::fft_conv(u, t({3, 4})),
                 "fft_conv: filter has 3 channels, u has 2; make one filter per channel of u (D, B, L)");
  EXPECT_REFUSED(ops::fft_conv(half, t({2, 4}, kBf16)), "fft_conv: filter must be f32 for an input of bf16, got bf16");
  EXPECT_REFUSED(ops::fft_conv(u, k, {.reverse = t({3, 4})}), "fft_conv: reverse filter has 3 channels");
  EXPECT_REFUSED(ops::fft_conv(u, k, {.skip = t({3})}), "fft_conv: skip must be (2) f32, got (3) f32");
  EXPECT_REFUSED(ops::fft_conv(half, k, {.skip = t({2}, kBf16)}), "fft_conv: skip must be (2) f32, got (2) bf16");
  EXPECT_REFUSED(ops::fft_conv(u, k, {.gate_in = half}),
                 "fft_conv: gate_in must have u's shape (2, 3, 8) and dtype f32, got (2, 3, 8) bf16");
  EXPECT_REFUSED(ops::fft_conv(u, k, {.gate_out = t({2, 3, 7})}),
                 "fft_conv: gate_out must have u's shape (2, 3, 8) and dtype f32, got (2, 3, 7) f32");
  EXPECT_REFUSED(ops::attention(t({2, 12}), 1, true),
                 "attention: packed queries, keys and values (B, L, 3 H C) are required, got (2, 12)");
  EXPECT_REFUSED(ops::attention(t({2, 3, 12}, kI32), 1, true), "attention: packed");
  EXPECT_REFUSED(ops::attention(t({2, 3, 12}), 3, true),
                 "attention: the packed width 12 must be 3 * heads * head size, heads is 3");
  EXPECT_REFUSED(ops::attention(t({2, 3, 12}), 0, true), "heads is 0");
  EXPECT_REFUSED(ops::rotary(t({2, 12}), 1, 2, 1e4), "rotary: packed");
  EXPECT_REFUSED(ops::rotary(t({2, 3, 12}), 1, 3, 1e4),
                 "rotary: an even number of rotated entries up to the head size 4 is required, got 3");
  EXPECT_REFUSED(ops::rotary(t({2, 3, 12}), 1, 6, 1e4), "got 6");
  EXPECT_REFUSED(ops::rotary(t({2, 3, 12}), 1, 0, 1e4), "got 0");
}

}  // namespace
}  // namespace mara
