#pragma once
// Flat buffers for all parameters of a model: one norm launch, one optimiser launch, buckets are ranges.

#include <memory>
#include <vector>

#include "core/state.h"
#include "nn/module.h"

namespace mara::nn {

/// Master values and gradients are f32, compute copies bf16 when compute is bf16. With compute f64 (CPU, gradient
/// checks) everything is f64.
class ParameterArena {
 public:
  /// Allocates, gives every parameter its place and full name, and fills in initial values from `seed`. Parameters
  /// start at multiples of 256 bytes, in reverse order of registration, so that a range fills up during backward.
  ParameterArena(Module& model, Device device, Dtype compute, uint64_t seed);

  /// Forgets last step's gradients: the next contribution to each overwrites.
  void begin_step();
  /// Zeroes gradients that no op of the step reached.
  void finish_step();

  /// The master values of all parameters, constants included, under their full names. Compute copies follow from them.
  void state(StateVisitor& visitor);

  Device device() const { return master_.device(); }
  const std::vector<Parameter*>& parameters() const { return parameters_; }  // trainable, in order of registration
  int64_t parameter_count() const { return parameter_count_; }               // trainable elements
  int64_t memory_bytes() const;

  const Tensor& master() const { return master_; }    // (n) f32 | f64
  const Tensor& grad() const { return grad_; }        // (n) f32 | f64
  const Tensor& compute() const { return compute_; }  // (n) bf16, undefined without bf16 copies

  /// The elements of a parameter in the flat buffers.
  struct Range {
    const Parameter* parameter;
    int64_t begin, end;
  };
  const std::vector<Range>& ranges() const { return ranges_; }  // ascending

 private:
  void write_compute_copies();

  std::vector<Parameter*> parameters_, constant_parameters_;
  std::vector<Range> ranges_;
  Tensor master_, grad_, compute_, constants_;
  int64_t parameter_count_ = 0;
};

}  // namespace mara::nn
