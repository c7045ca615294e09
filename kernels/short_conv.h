#pragma once

#include "core/view.h"

namespace mara::kernels {

/// Causal depthwise convolution with a few taps; the last tap multiplies the current sample:
///   y[d, b, l] = bias[d] + sum_{j < K, j <= l} weight[d, K-1-j] (u[d, b, l-j] + input_bias[d])
/// The input bias belongs to what made u; here it costs no pass. What lies before the sequence stays 0.
struct ShortConvForward {
  View u;           // (D, B, L) f32 | bf16 | f64, last axis stride 1
  View weight;      // (D, K) f32 | f64, K <= 64
  View bias;        // (D) f32 | f64, or empty
  View y;           // (D, B, L) dtype of u, last axis stride 1
  View input_bias;  // (D) f32 | f64, or empty

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("u", u);
    v.in("weight", weight);
    v.in("bias", bias);
    v.in("input_bias", input_bias);
    v.out("y", y);
  }
};
/// du[l] = sum_j weight[K-1-j] dy[l+j];  dweight[i] = sum_{b,l} dy[l] (u[l-(K-1-i)] + input_bias);
/// dbias = sum_{b,l} dy;  dinput_bias = sum_{b,l} du = sum_{b,l} dy[l] sum_{j <= l} weight[K-1-j].
struct ShortConvBackward {
  View dy, u;           // (D, B, L)
  View weight;          // (D, K)
  View du;              // (D, B, L) dtype of u, or empty
  View dweight, dbias;  // f32 | f64, or empty
  bool accumulate_weight = false, accumulate_bias = false;
  View input_bias, dinput_bias;  // (D) f32 | f64, or empty
  bool accumulate_input_bias = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("dy", dy);
    v.in("u", u);
    v.in("weight", weight);
    v.in("input_bias", input_bias);
    v.out("du", du);
    v.out("dweight", dweight, accumulate_weight);
    v.out("dbias", dbias, accumulate_bias);
    v.out("dinput_bias", dinput_bias, accumulate_input_bias);
  }
};

}  // namespace mara::kernels
