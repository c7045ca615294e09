#pragma once
// Gradients of any function from tensors to a tensor: taken from the tape, and checked against central differences.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "autograd/tape.h"
#include "core/runtime.h"
#include "ops/shape_ops.h"

namespace mara {

using Values = std::vector<double>;
using Function = std::function<Tensor(const std::vector<Tensor>&)>;

/// Reproducible numbers in (-1, 1) which every floating dtype holds exactly: odd multiples of 2^-8, so none is within
/// a step of the kinks that relu and abs have at 0.
inline Values noise(int64_t count, uint32_t seed) {
  Values out(static_cast<size_t>(count));
  for (double& value : out) {
    seed = seed * 1664525u + 1013904223u;
    value = (2.0 * static_cast<double>(seed >> 24) - 255.0) / 256.0;
  }
  return out;
}

struct Derivative {
  Values value;
  std::vector<Values> gradients;  // by input, zeros where nothing was reached or wanted
};

/// Runs fn on a tape. The gradients are those of sum(cotangent * fn(inputs)), with noise as the cotangent.
inline Derivative differentiate(const Function& fn, const std::vector<Tensor>& inputs,
                                const std::vector<bool>& wanted) {
  Tape tape;
  std::vector<Tensor> tracked = inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (wanted[i]) tracked[i] = tape.source(inputs[i]);
  }
  Tensor y;
  {
    const Recording recording(tape);
    y = ops::contiguous(fn(tracked));
  }
  tape.backward(y, Tensor::from(noise(y.numel(), 99), y.shape(), y.dtype(), y.device()), {});
  Derivative out{y.to_host(), {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor gradient = wanted[i] ? tape.take_grad(tracked[i]) : Tensor();
    out.gradients.push_back(gradient.defined() ? gradient.to_host() : Values(static_cast<size_t>(inputs[i].numel())));
  }
  return out;
}

inline Derivative differentiate(const Function& fn, const std::vector<Tensor>& inputs) {
  return differentiate(fn, inputs, std::vector<bool>(inputs.size(), true));
}

/// Bound on gradient_error for smooth functions of numbers near 1. The differences themselves are good to about 1e-10:
/// h^2 / 6 third derivatives, and 1e-16 / h rounding.
inline constexpr double kGradientBound = 1e-7;

/// Largest relative error of the tape's gradient of fn at f64 inputs on the CPU, for each input alone and for all
/// together, along several random directions; NaN if any is. Relative to the size of the gradient, because along a
/// direction across it derivatives cancel.
inline double gradient_error(const Function& fn, const std::vector<Tensor>& inputs) {
  constexpr double h = 1e-5;
  constexpr uint32_t kDirections = 3;
  const size_t count = inputs.size();
  std::vector<std::vector<bool>> choices(count, std::vector<bool>(count));
  for (size_t i = 0; i < count; ++i) choices[i][i] = true;
  if (count > 1) choices.emplace_back(count, true);

  const auto objective = [&](const std::vector<Values>& at) {
    std::vector<Tensor> moved;
    for (size_t i = 0; i < count; ++i) moved.push_back(Tensor::from(at[i], inputs[i].shape(), Dtype::f64, kCpu));
    const Values y = ops::contiguous(fn(moved)).to_host(), cotangent = noise(static_cast<int64_t>(y.size()), 99);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += cotangent[i] * y[i];
    return sum;
  };
  double worst = 0;
  for (const std::vector<bool>& wanted : choices) {
    const Derivative tape = differentiate(fn, inputs, wanted);
    for (uint32_t direction = 0; direction < kDirections; ++direction) {
      std::vector<Values> ahead, behind;
      double expected = 0, squares = 0;
      for (size_t i = 0; i < count; ++i) {
        const Values x = inputs[i].to_host(), &gradient = tape.gradients[i];
        const Values along = noise(inputs[i].numel(), 100 * direction + static_cast<uint32_t>(i));
        ahead.push_back(x), behind.push_back(x);
        for (size_t j = 0; wanted[i] && j < x.size(); ++j) {
          ahead[i][j] += h * along[j];
          behind[i][j] -= h * along[j];
          expected += gradient[j] * along[j];
          squares += gradient[j] * gradient[j];
        }
      }
      const double measured = (objective(ahead) - objective(behind)) / (2 * h);
      const double size = std::max(std::fabs(measured), std::sqrt(squares));
      const double error = size == 0 ? 0 : std::fabs(measured - expected) / size;
      if (std::isnan(error)) return error;
      worst = std::max(worst, error);
    }
  }
  return worst;
}

inline void expect_gradient(const Function& fn, const std::vector<Tensor>& inputs) {
  EXPECT_LE(gradient_error(fn, inputs), kGradientBound);
}

}  // namespace mara
