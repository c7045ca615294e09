#pragma once
// Ops as a table of cases, and what is checked of every case.

#include <string>
#include <vector>

#include "devices.h"
#include "gradient_check.h"
#include "ops/elementwise.h"

namespace mara {

/// A floating input of an op, filled with noise.
struct Argument {
  enum Kind : uint8_t {
    activation,  // in the dtype under test
    positive,    // the same, from [1, 2)
    parameter,   // f32 where activations are bf16
  };
  Shape shape;
  Kind kind = activation;
};

struct OpCase {
  std::string name;
  std::vector<Argument> arguments;
  Function fn;
};

inline std::vector<Tensor> make_inputs(const OpCase& c, Dtype dtype, Device device) {
  std::vector<Tensor> inputs;
  for (const Argument& argument : c.arguments) {
    Values values = noise(argument.shape.numel(), static_cast<uint32_t>(inputs.size()) + 1);
    // Noise again, of fewer bits: in this range bf16 has steps of 2^-7.
    if (argument.kind == Argument::positive) {
      for (double& value : values) value = 1 + std::floor((value + 1) * 64) / 128;
    }
    const Dtype stored = argument.kind == Argument::parameter ? compute_dtype(dtype) : dtype;
    inputs.push_back(Tensor::from(values, argument.shape, stored, device));
  }
  return inputs;
}

/// Gradients with the inputs as parameters, after `passes` equal passes (micro-batches) on a tape each. They start as
/// NaN, so that what is not written shows.
inline std::vector<Values> parameter_gradients(const Function& fn, const std::vector<Tensor>& inputs, int passes) {
  std::vector<Leaf> leaves;
  leaves.reserve(inputs.size());
  std::vector<Tensor> tracked;
  for (const Tensor& input : inputs) {
    const Values nan(static_cast<size_t>(input.numel()), std::nan(""));
    leaves.push_back({"input", {Tensor::from(nan, {input.numel()}, compute_dtype(input.dtype()), input.device()), {}}});
    tracked.push_back(leaves.back().track(input));
  }
  for (int pass = 0; pass < passes; ++pass) differentiate(fn, tracked, std::vector<bool>(inputs.size(), false));
  std::vector<Values> out;
  for (const Leaf& leaf : leaves) out.push_back(leaf.grad.data.to_host());
  return out;
}

inline void expect_near(const std::vector<Values>& actual, const std::vector<Values>& expected, double bound) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_LE(relative_error(actual[i], expected[i]), bound) << "input " << i;
}

/// In f64: gradients against differences, and that they add up where an input is used twice on a tape, or as a
/// parameter of two tapes.
inline void check_gradients(const std::vector<OpCase>& cases) {
  for (const OpCase& c : cases) {
    SCOPED_TRACE(c.name);
    const std::vector<Tensor> inputs = make_inputs(c, Dtype::f64, kCpu);
    expect_gradient(c.fn, inputs);
    std::vector<Values> doubled = differentiate(c.fn, inputs).gradients;
    for (Values& gradient : doubled) {
      for (double& value : gradient) value *= 2;
    }
    const Function twice = [&](const std::vector<Tensor>& in) {
      return ops::add(ops::contiguous(c.fn(in)), ops::contiguous(c.fn(in)));
    };
    expect_near(differentiate(twice, inputs).gradients, doubled, tolerance(Dtype::f64));
    expect_near(parameter_gradients(c.fn, inputs, 2), doubled, tolerance(Dtype::f64));
  }
}

/// In f32 and bf16 on a device: values and gradients against f64 on the CPU at the same inputs.
inline void check_precision(const std::vector<OpCase>& cases, Device device) {
  for (const OpCase& c : cases) {
    for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      SCOPED_TRACE(c.name + " in " + to_string(dtype));
      const Derivative expected = differentiate(c.fn, make_inputs(c, Dtype::f64, kCpu));
      const std::vector<Tensor> inputs = make_inputs(c, dtype, device);
      const Derivative actual = differentiate(c.fn, inputs);
      EXPECT_LE(relative_error(actual.value, expected.value), tolerance(dtype));
      expect_near(actual.gradients, expected.gradients, tolerance(dtype));
      expect_near(parameter_gradients(c.fn, inputs, 1), expected.gradients, tolerance(dtype));
    }
  }
}

/// Values and gradients of two ways to compute the same, in f64 (on the CPU) and f32.
inline void check_same(const OpCase& c, const Function& other, Device device) {
  for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
    if (dtype == Dtype::f64 && !(device == kCpu)) continue;
    SCOPED_TRACE(c.name + " in " + to_string(dtype));
    const std::vector<Tensor> inputs = make_inputs(c, dtype, device);
    const Derivative actual = differentiate(c.fn, inputs), expected = differentiate(other, inputs);
    EXPECT_LE(relative_error(actual.value, expected.value), tolerance(dtype));
    expect_near(actual.gradients, expected.gradients, tolerance(dtype));
  }
}

}  // namespace mara
