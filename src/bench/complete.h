#pragma once
// What random inputs lack. Most kernels take any numbers; those here need some that fit each other (a backward the
// statistics of its forward), or of another size, for results whose errors mean something. Overloads by argument
// struct.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/tensor.h"
#include "kernels/kernels.h"
#include "kernels/visitor.h"

namespace mara::bench {

/// All elements between the first and the last of a view.
inline View flat(View view) {
  int64_t elements = view.numel() > 0 ? 1 : 0;
  for (int axis = 0; elements > 0 && axis < view.shape.rank; ++axis) {
    elements += (view.size(axis) - 1) * view.stride[axis];
  }
  view.shape = {elements};
  view.stride = contiguous_strides(view.shape);
  return view;
}

inline void scale(const kernels::Backend& on, const View& view, double factor) {
  on.k.scale(on.stream, {.x = flat(view), .y = flat(view), .factor = factor});
}

template <class Args>
void complete(const kernels::Backend&, Args&) {}

// So that a sum over k does not drown what it is added to.
inline void complete(const kernels::Backend& on, kernels::Matmul& args) {
  scale(on, args.a, 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, args.a.size(2)))));
}

// Logits of deviation 4: the softmax is neither flat, which would hide it behind the one-hot vector, nor one-hot
// itself.
inline void complete(const kernels::Backend& on, kernels::LinearCrossEntropy& args) {
  scale(on, args.w, 4 / std::sqrt(static_cast<double>(args.w.size(1))));
}

inline void complete(const kernels::Backend& on, kernels::LayerNormBackward& args) {
  const Tensor y = Tensor::empty(args.x.shape, args.x.dtype, on.stream.device());
  on.k.layer_norm_forward(
      on.stream,
      {.x = args.x, .gain = args.gain, .bias = args.gain, .y = y.view(), .mean = args.mean, .rstd = args.rstd});
}

inline void complete(const kernels::Backend& on, kernels::RmsNormBackward& args) {
  const Tensor y = Tensor::empty(args.x.shape, args.x.dtype, on.stream.device());
  on.k.rms_norm_forward(on.stream, {.x = args.x, .gain = args.gain, .y = y.view(), .rstd = args.rstd});
}

inline void complete(const kernels::Backend& on, kernels::SoftmaxBackward& args) {
  on.k.softmax_forward(on.stream, {.x = args.dy, .y = args.y});
}

inline void complete(const kernels::Backend& on, kernels::AttentionBackward& args) {
  on.k.attention_forward(
      on.stream,
      {.qkv = args.qkv, .o = args.o, .lse = args.lse, .heads = args.heads, .scale = args.scale, .causal = args.causal});
}

// Second moments are positive; the gradient's norm is its norm.
inline void complete(const kernels::Backend& on, kernels::AdamW& args) {
  on.k.unary_forward(on.stream, {.function = kernels::Unary::exp, .x = args.grad, .y = args.v});
  on.k.fill(on.stream, {.y = args.count, .value = 3});
  on.k.sum_of_squares(on.stream, {.x = args.grad, .y = args.grad_squares});
}

// Steps that let filters last, and frequencies that turn within one: about 0.02 and 20.
template <class Args>
requires requires(Args& args) { args.log_decay; }
void complete(const kernels::Backend& on, Args& args) {
  const Tensor shift = Tensor::empty(args.log_dt.shape, args.log_dt.dtype, on.stream.device());
  on.k.fill(on.stream, {.y = shift.view(), .value = -4});
  on.k.add(on.stream, {.a = args.log_dt, .b = shift.view(), .y = args.log_dt});
  scale(on, args.frequency, 20);
}

// States that decay.
inline void complete(const kernels::Backend& on, kernels::SsmScan& args) {
  scale(on, args.lambda, 0.3);
  if (args.q) scale(on, args.q, 0.05 / static_cast<double>(args.q.size(1)));
}

/// Rows that a kernel treats alike, or tokens of which a few show as much as many: for a quick check.
inline constexpr int64_t kShortElements = 1 << 18, kShortTokens = 64;

inline void keep_rows(View& view, int64_t rows) {
  if (view && view.shape.rank > 0) view.shape[0] = std::min(view.shape[0], rows);
}

template <class Args>
void shorten(Args&) {}

template <class Args>
requires(std::is_same_v<Args, kernels::Copy> || std::is_same_v<Args, kernels::Scale>) void shorten(Args& args) {
  const int64_t row = args.y.numel() / std::max<int64_t>(1, args.y.size(0));
  const int64_t rows = std::max<int64_t>(1, kShortElements / std::max<int64_t>(1, row));
  keep_rows(args.x, rows);
  keep_rows(args.y, rows);
}

inline void shorten(kernels::Fill& args) { keep_rows(args.y, kShortElements); }

inline void shorten(kernels::SumOfSquares& args) { keep_rows(args.x, kShortElements); }

inline void shorten(kernels::AdamW& args) {
  for (View* view : {&args.master, &args.grad, &args.m, &args.v, &args.compute}) keep_rows(*view, kShortElements);
}

// Fewer rows of the table, not of what is looked up.
inline void shorten_table(View& table) {
  if (table.size(0) == 1) table.shape[1] = std::min(table.shape[1], 16 * kShortTokens);
}
inline void shorten(kernels::GatherForward& args) { shorten_table(args.x); }
inline void shorten(kernels::GatherBackward& args) { shorten_table(args.dx); }

// Fewer channels, where each has a system of its own.
struct KeepChannels : kernels::Visitor<KeepChannels> {
  static constexpr int64_t kChannels = 16;
  void view(const char*, View& v, const kernels::Role&) { keep_rows(v, kChannels); }
  template <class T>
  void option(const char*, const T&) {}
};
template <class Args>
requires requires(Args& args) { args.log_decay; }
void shorten(Args& args) {
  KeepChannels keep;
  if (args.c.size(0) == args.log_decay.size(0)) args.visit(keep);
}

inline void shorten(kernels::LinearCrossEntropy& args) {
  for (View* view : {&args.x, &args.targets, &args.loss, &args.predictions, &args.dx}) keep_rows(*view, kShortTokens);
}

}  // namespace mara::bench
