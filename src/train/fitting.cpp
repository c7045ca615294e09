#include "train/fitting.h"

#include "core/format.h"
#include "train/describe.h"

namespace mara::train {
namespace {

// What a walk on the meta device does not see: library workspaces, the scratch of kernels, the device's own share.
constexpr int64_t kOverhead = int64_t{2} << 30;

int64_t needed(const Recipe& recipe) {
  const Description d = describe(recipe);
  return d.weight_bytes + d.optimizer_bytes + d.activation_bytes + kOverhead;
}

}  // namespace

std::string what_would_fit(const Recipe& recipe, int64_t capacity) {
  Recipe tried = recipe;
  for (const std::string recompute : {"none", "block"}) {
    if (recompute == "none" && recipe.train.recompute == "block") continue;
    tried.train.recompute = recompute;
    for (int64_t size = recipe.train.micro_batch_size(); size >= 1; --size) {
      if (recipe.train.batch % size != 0) continue;
      const bool same = size == recipe.train.micro_batch_size() && recompute == recipe.train.recompute;
      tried.train.micro_batch = size;
      const int64_t bytes = needed(tried);
      if (same || bytes > capacity) continue;
      return detail::join({"--set train.micro_batch=", size,
                           recompute == recipe.train.recompute ? "" : " --set train.recompute=" + recompute,
                           " needs about ", bytes_text(bytes), " and fits"});
    }
  }
  return detail::join({"one sequence at a time with train.recompute=block needs about ", bytes_text(needed(tried)),
                       ", too much as well; a smaller model or shorter sequences are required"});
}

}  // namespace mara::train
