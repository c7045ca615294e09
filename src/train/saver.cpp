#include "train/saver.h"

#include <utility>

#include "core/log.h"

namespace mara::train {

Saver::Saver(const Recipe& recipe, const RunFolder& folder, checkpoint::StateFunction state)
    : config_(recipe.checkpoint),
      recipe_(config::to_yaml(recipe)),
      writer_(folder.path() / RunFolder::kCheckpoints,
              {.newest = config_.keep, .every = config_.keep_every, .best = config_.best}, folder.checkpoints(),
              std::move(state)) {
  if (!folder.checkpoints().empty()) saved_step_ = folder.checkpoints().back().step;
}

void Saver::evaluated(int64_t step, const eval::Evaluation& valid) {
  scored_step_ = step;
  score_ = {config_.best, config_.best == "loss" ? -valid.loss : valid.accuracy.value_or(0)};
}

void Saver::step(int64_t step) {
  if (save(step) || warned_) return;
  warned_ = true;
  log_warning(detail::join({"no checkpoint of step ", step,
                            ", nor of later ones that are due while one is being written; raise checkpoint.every"}));
}

void Saver::finish(int64_t step) {
  bool saved = writer_.wait() && saved_step_ == step;
  if (!saved && save(step)) saved = writer_.wait();
  if (!saved) throw Failure(detail::join({"the state of step ", step, " could not be saved, see the warning above"}));
}

bool Saver::save(int64_t step) {
  const bool scored = config_.best != "none" && scored_step_ == step;
  if (!writer_.save(recipe_, scored ? std::optional(score_) : std::nullopt)) return false;
  saved_step_ = step;
  return true;
}

}  // namespace mara::train
