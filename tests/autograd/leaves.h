#pragma once
// Parameters for tests, and running a function on a tape.

#include <deque>
#include <string>
#include <vector>

#include "gradient_check.h"

namespace mara {

/// f64 parameters filled with noise, named "0", "1", ...; gradients start as NaN, so that what is not written shows.
class Leaves {
 public:
  Leaves(std::initializer_list<Shape> shapes) {
    for (const Shape& shape : shapes) {
      const Values nan(static_cast<size_t>(shape.numel()), std::nan(""));
      values_.push_back(Tensor::from(noise(shape.numel(), 1), shape, Dtype::f64, kCpu));
      leaves_.push_back({std::to_string(leaves_.size()), {Tensor::from(nan, {shape.numel()}, Dtype::f64, kCpu), {}}});
    }
  }
  size_t size() const { return values_.size(); }
  const std::vector<Tensor>& values() const { return values_; }
  std::vector<Tensor> track() const {
    std::vector<Tensor> out;
    for (size_t i = 0; i < values_.size(); ++i) out.push_back(leaves_[i].track(values_[i]));
    return out;
  }
  Values gradient(size_t i) const { return leaves_[i].grad.data.to_host(); }
  static std::vector<std::string> names(const std::vector<Leaf*>& leaves) {
    std::vector<std::string> out;
    for (const Leaf* leaf : leaves) out.push_back(leaf->name);
    return out;
  }

 private:
  std::vector<Tensor> values_;
  std::deque<Leaf> leaves_;  // tapes point to them
};

inline Tensor recorded(Tape& tape, const std::function<Tensor()>& fn) {
  const Recording recording(tape);
  return fn();
}

}  // namespace mara
