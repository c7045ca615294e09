#pragma once
// Kernel launches taken out of a computation, to be run one by one with memory of their own.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "kernels/kernels.h"
#include "kernels/visitor.h"

namespace mara::bench {

/// Memory of one view of a call: from its first element to its last, gaps of the strides included.
struct Slot {
  std::string name;
  kernels::Role role;
  Tensor memory;                                 // (elements)
  std::function<std::vector<double>()> numbers;  // set where the memory is a struct: what is in it
};

/// A call with memory on a device; uninitialised but for structs that are read, which hold examples.
class Instance {
 public:
  virtual ~Instance() = default;
  const std::vector<Slot>& slots() const { return slots_; }
  /// Launches it on the backend of its device.
  virtual void run(const kernels::Backend& backend) const = 0;
  /// Makes inputs that must fit the others fit them (see complete.h).
  virtual void complete() = 0;

 protected:
  std::vector<Slot> slots_;
};

/// A launch without data: kernel, shapes, strides, dtypes, options.
class Call {
 public:
  virtual ~Call() = default;

  std::string key;  // what tells it from other calls
  std::string kernel;
  std::string shapes;              // each different one once, then options that are on: "(8, 16) (16) accumulate"
  Dtype dtype = Dtype::f32;        // of its first floating view
  Dtype input_dtype = Dtype::f64;  // the coarsest of its inputs
  int64_t count = 1;               // how often it was launched
  double bytes = 0;                // each input read once, each output written once
  double flops = 0;                // 0 for kernels that do not say

  /// With memory from the device's current pool; with `wide`, floating views are f64.
  virtual std::unique_ptr<Instance> instance(Device device, bool wide) const = 0;
  /// The same on fewer rows, where that leaves its code path alone and saves much (see complete.h).
  virtual std::unique_ptr<Call> shortened() const = 0;
};

using Calls = std::vector<std::unique_ptr<Call>>;

/// The different launches that `body` makes on the meta device, in order of appearance.
Calls record(const std::function<void()>& body);

/// All of them shortened; some become equal by that.
Calls shortened(const Calls& calls);

}  // namespace mara::bench
