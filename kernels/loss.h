#pragma once

#include "core/view.h"

namespace mara::kernels {

inline constexpr int32_t kIgnoredTarget = -100;

/// Output layer and cross-entropy in one, through chunks of tokens, so that the (N, V) logits never exist at once:
///   logits = x w^T;  loss[n] = logsumexp(logits[n]) - logits[n, target[n]], 0 where the target is kIgnoredTarget.
/// When gradients are asked for they are computed in the same pass, as for an upstream gradient of 1 on every loss
/// (the loss is a sum, so the caller scales): dx = (softmax - onehot) w, dw = (softmax - onehot)^T x.
struct LinearCrossEntropy {
  View x;            // (N, D) contiguous, f32 | bf16 | f64
  View w;            // (V, D) contiguous, dtype of x
  View targets;      // (N) i32, in [0, V) or kIgnoredTarget
  View loss;         // (N) f32 | f64, output
  View count;        // (1) f32 | f64, output: number of targets that are not ignored
  View predictions;  // (N) i32, argmax of the logits (first of equals), or empty
  View dx;           // (N, D) dtype of x, or empty
  View dw;           // (V, D) f32 | f64, or empty; overwritten, with zeros where there are no tokens

  double flops() const {
    const double products = 1.0 + (dx ? 1.0 : 0.0) + (dw ? 1.0 : 0.0);
    return 2.0 * products * static_cast<double>(x.numel()) * static_cast<double>(w.size(0));
  }

  template <class Visitor>
  void visit(Visitor& v) {
    v.in("x", x);
    v.in("w", w);
    v.index("targets", targets, w.size(0), kIgnoredTarget);
    v.out("loss", loss);
    v.out("count", count);
    v.out("predictions", predictions);
    v.out("dx", dx);
    v.out("dw", dw);
  }
};

}  // namespace mara::kernels
