#pragma once

#include <functional>
#include <memory>

#include "core/pool.h"
#include "core/runtime.h"

namespace mara::train {

/// Runs the same body again and again: at first as it is, which makes library plans and lets the pool grow to what is
/// needed. Once the pool has taken nothing from the system and given nothing back since the start of the last run,
/// which was not the first, the body is captured into a graph, and from then on the graph is launched, once per run.
/// Same bits each way. On devices that cannot capture, and when switched off, it calls the body every time.
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
  static constexpr int64_t kNotSettled = -1;
  bool enabled_, ran_ = false;
  int64_t settled_calls_ = kNotSettled;  // the pool's system calls before and after the last run
  std::unique_ptr<Graph> graph_;
};

}  // namespace mara::train
