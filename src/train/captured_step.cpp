#include "train/captured_step.h"

namespace mara::train {

CapturedStep::CapturedStep(Pool& pool, bool enabled) : pool_(pool), enabled_(enabled) {}

void CapturedStep::run(const std::function<void()>& body) {
  const int64_t calls = pool_.system_calls();
  if (graph_ == nullptr && enabled_ && calls == settled_calls_) {
    graph_ = runtime(pool_.device()).capture(body);
    if (graph_ != nullptr) pool_.keep_blocks();
  }
  if (graph_ != nullptr) {
    graph_->launch();
  } else {
    body();
    settled_calls_ = ran_ && pool_.system_calls() == calls ? calls : kNotSettled;
    ran_ = true;
  }
}

}  // namespace mara::train
