#pragma once

#include <functional>
#include <memory>

#include "core/pool.h"
#include "core/runtime.h"

namespace mara::train {

/// Runs the same body again and again: at first as it is, which makes library plans and lets the pool grow to what is
/// needed. After a run, but the first, for which the pool took nothing from the system and gave nothing back, the body
/// is captured into a graph, and from then on the graph is launched, once per run. Same bits each way. On devices that
/// cannot capture, and when switched off, it calls the body every time.
///
/// The body takes its memory from `pool`, reads what changes between runs from device memory, and does not wait.
class CapturedStep {
 public:
  CapturedStep(Pool& pool, bool enabled);

  void run(const std::function<void()>& body);
  /// Whether the last run was one launch of a graph.
  bool replayed() const { return graph_ != nullptr; }

 private:
  Pool& pool_;
  bool enabled_, ran_ = false, settled_ = false;
  std::unique_ptr<Graph> graph_;
};

}  // namespace mara::train
