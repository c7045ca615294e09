#pragma once

#include "core/view.h"

namespace mara::kernels {

/// Rotates pairs (2i, 2i+1) of the first `rotary_dim` entries of every head of q and k by (first_position + l) *
/// base^(-2i / rotary_dim); v is copied. `inverse` rotates back, which is the gradient.
struct Rotary {
  View x;  // (B, L, 3 H C) packed q, k, v; contiguous, f32 | bf16 | f64
  View y;  // like x
  int64_t heads = 1;
  int64_t rotary_dim = 0;  // even, <= C
  double base = 10000;
  bool inverse = false;
  int64_t first_position = 0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.out("y", y);
    v.option("heads", heads);
    v.option("rotary_dim", rotary_dim);
    v.option("base", base);
    v.option("inverse", inverse);
    v.option("first_position", first_position);
  }
};

/// Softmax attention on the packed projection, by tiles with online softmax (no (L, L) matrix in memory):
///   o[b, l, h] = sum_j softmax_j(scale q[b, l, h] . k[b, j, h]) v[b, j, h],  j <= l when causal.
struct AttentionForward {
  View qkv;  // (B, L, 3 H C) packed q, k, v, heads inside each; contiguous, f32 | bf16 | f64
  View o;    // (B, L, H C) contiguous, dtype of qkv
  View lse;  // (B, H, L) f32 | f64: log sum exp of the scaled scores, saved for backward
  int64_t heads = 1;
  double scale = 1;
  bool causal = true;

  double flops() const {
    return (causal ? 2.0 : 4.0) * static_cast<double>(o.numel()) * static_cast<double>(o.size(1));
  }

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("qkv", qkv);
    v.out("o", o);
    v.out("lse", lse);
    v.option("heads", heads);
    v.option("scale", scale);
    v.option("causal", causal);
  }
};
struct AttentionBackward {
  View d_o, qkv, o, lse;  // as in the forward
  View dqkv;              // (B, L, 3 H C), output
  int64_t heads = 1;
  double scale = 1;
  bool causal = true;

  double flops() const {
    return (causal ? 5.0 : 10.0) * static_cast<double>(o.numel()) * static_cast<double>(o.size(1));
  }

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("d_o", d_o);
    v.in("qkv", qkv);
    v.in("o", o);
    v.in("lse", lse);
    v.out("dqkv", dqkv);
    v.option("heads", heads);
    v.option("scale", scale);
    v.option("causal", causal);
  }
};

}  // namespace mara::kernels
