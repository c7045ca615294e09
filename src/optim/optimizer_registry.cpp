// Every optimiser, one line each.

#include <algorithm>

#include "optim/adamw.h"
#include "optim/optimizer.h"

namespace mara::optim {
namespace {

struct Entry {
  const char* kind;
  std::unique_ptr<Optimizer> (*make)(const OptimConfig&, const nn::ParameterArena&);
};

template <class T>
std::unique_ptr<Optimizer> make(const OptimConfig& config, const nn::ParameterArena& arena) {
  return std::make_unique<T>(config, arena);
}

constexpr Entry kOptimizers[] = {
    {"adamw", &make<AdamW>},
};

}  // namespace

void OptimConfig::fields(config::Fields& f) {
  std::vector<std::string> kinds;
  for (const Entry& entry : kOptimizers) kinds.push_back(entry.kind);
  f.field("kind", kind, "optimiser", config::one_of(kinds));
  f.field("lr", lr, "base learning rate; the schedule multiplies it", config::between(1e-12, 1e6));
  f.field("beta1", beta1, "decay of the mean of gradients", config::between(0, 0.999999));
  f.field("beta2", beta2, "decay of the mean of squared gradients", config::between(0, 0.9999999));
  f.field("eps", eps, "added to the root of the mean square", config::between(1e-30, 1));
  f.field("weight_decay", weight_decay, "decoupled decay of what optim.decay says", config::at_least(0));
  f.field("decay", decay, "`matrices`, or `all`: also norms, biases, skips and tables; filters and systems never are",
          config::one_of({"matrices", "all"}));
  f.field("clip", clip, "largest global norm of the gradient; 0: no clipping", config::at_least(0));
}

float OptimConfig::lr_scale(const nn::ParamHints& hints) const {
  return std::min(hints.lr_scale, hints.max_lr / static_cast<float>(lr));
}

double OptimConfig::decay_of(const nn::ParamHints& hints) const {
  return hints.decay >= (decay == "all" ? nn::Decay::vector : nn::Decay::matrix) ? weight_decay : 0;
}

std::unique_ptr<Optimizer> make_optimizer(const OptimConfig& config, const nn::ParameterArena& arena) {
  for (const Entry& entry : kOptimizers) {
    if (config.kind == entry.kind) return entry.make(config, arena);
  }
  throw Error("optim.kind: unknown optimiser '" + config.kind + "'");
}

}  // namespace mara::optim
