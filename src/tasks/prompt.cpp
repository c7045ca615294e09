#include "tasks/prompt.h"

#include "kernels/loss.h"

namespace mara::tasks {

void next_token_targets(std::span<const int32_t> ids, int32_t last, int64_t scored, std::span<int32_t> targets) {
  const size_t ignored = ids.size() - static_cast<size_t>(scored);
  for (size_t t = 0; t < ids.size(); ++t) {
    const int32_t next = t + 1 < ids.size() ? ids[t + 1] : last;
    targets[t] = t < ignored ? kernels::kIgnoredTarget : next;
  }
}

}  // namespace mara::tasks
