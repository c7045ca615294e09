#pragma once
// What a run's state consists of. Each class that has some describes it in one function,
//   void state(StateVisitor& v) { v.tensor("optimizer.m", m_); v.integer("step", step_); }
// which serves saving as well as loading, so that the two cannot drift apart.

#include <cstdint>
#include <functional>
#include <string>

#include "core/tensor.h"

namespace mara {

/// The names of everything visited are unique.
class StateVisitor {
 public:
  virtual ~StateVisitor() = default;
  /// Contiguous; loading fills its memory.
  virtual void tensor(const std::string& name, const Tensor& tensor) = 0;
  virtual void integer(const std::string& name, int64_t& value) = 0;
  /// What the state depends on and does not hold itself: saved with it, and loading requires the same.
  virtual void same(const std::string& name, const std::string& value) = 0;
  /// Called once loading is done, to rebuild what follows from the state.
  virtual void after_loading(std::function<void()> rebuild) = 0;
};

}  // namespace mara
