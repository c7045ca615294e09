#pragma once

#include <array>
#include <cstdint>

#include "core/view.h"

namespace mara::kernels {

/// The numbers that change from step to step, in device memory: written by the host before a step, read by kernels.
struct StepScalars {
  int64_t step = 0;  // 0-based
  float lr = 0;
};

/// What one step did, in device memory: written by the adamw kernel, read by the host after the step.
struct StepReport {
  double loss = 0;       // mean over the targets
  double grad_norm = 0;  // of the mean loss, before clipping
  int32_t skipped = 0;   // 1: loss or gradient was not finite, the weights were left alone

  std::array<double, 3> numbers() const { return {loss, grad_norm, static_cast<double>(skipped)}; }
};

/// A parameter's hints, for a range of the flat buffers.
struct AdamWRange {
  int64_t begin = 0, end = 0;  // elements
  float lr_scale = 1;
  float weight_decay = 0;
};

/// AdamW over the flat arena in one launch (Loshchilov and Hutter, 1711.05101):
///   g = grad * clip_factor / count;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  t = step + 1
///   w -= lr lr_scale (m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps) + weight_decay w)
/// clip_factor = min(1, clip / norm), norm = sqrt(grad_squares) / count, when clip > 0. Where loss or norm is not
/// finite or count is 0 nothing is changed and report.skipped is 1 (0 targets: a step without anything to learn).
struct AdamW {
  View master, grad, m, v;             // (n) f32 | f64
  View compute;                        // (n) bf16 copies of the master weights, or empty
  const AdamWRange* ranges = nullptr;  // device memory; together they cover every parameter, in order
  int64_t range_count = 0;
  View loss_sum, count;                  // (1) f32 | f64
  View grad_squares;                     // (1) f64
  const StepScalars* scalars = nullptr;  // device memory
  StepReport* report = nullptr;          // device memory
  float beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, clip = 0;

  template <class Visitor>
  void visit(Visitor& visitor) {
    visitor.in_out("master", master);
    visitor.in("grad", grad);
    visitor.in_out("m", m);
    visitor.in_out("v", v);
    visitor.out_always("compute", compute);
    const int64_t n = master.size(0), parts = range_count;
    visitor.values("ranges", ranges, parts, [=](int64_t i) {
      return AdamWRange{n * i / parts, n * (i + 1) / parts, 1.0f / static_cast<float>(i + 1), i % 2 == 0 ? 0.1f : 0.0f};
    });
    visitor.in("loss_sum", loss_sum);
    visitor.in("count", count);
    visitor.in("grad_squares", grad_squares);
    visitor.values("scalars", scalars, 1, [](int64_t) { return StepScalars{.step = 3, .lr = 0.5f}; });
    visitor.out_values("report", report);
    visitor.option("beta1", beta1);
    visitor.option("beta2", beta2);
    visitor.option("eps", eps);
    visitor.option("clip", clip);
  }
};

}  // namespace mara::kernels
