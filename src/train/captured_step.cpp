#include "train/captured_step.h"

namespace mara::train {

CapturedStep::CapturedStep(Pool& pool, bool enabled) : pool_(pool), enabled_(enabled) {}

void CapturedStep::run(const std::function<void()>& body) {
  if (graph_ == nullptr && enabled_ && settled_) {
    graph_ = runtime(pool_.device()).capture(body);
    if (graph_ != nullptr) pool_.keep_blocks();
  }
  if (graph_ != nullptr) {
    graph_->launch();
  } else {
    const int64_t before = pool_.system_calls();
    body();
    settled_ = ran_ && pool_.system_calls() == before;
    ran_ = true;
  }
}

}  // namespace mara::train
