#pragma once

#include <memory>
#include <span>

#include "eval/examples.h"
#include "train/recipe.h"

namespace mara::train {

/// Where a run's examples come from: the task or the token shards of its recipe.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual ExampleForm form() const = 0;
  /// What models::Batch holds, in host memory; empty where the data has none.
  struct Rows {
    std::span<const int32_t> ids, targets;
    std::span<const float> inputs = {}, values = {};
  };
  /// The batch of a step, a pure function of (recipe, step): the stream of shuffled epochs, cut into batches. In host
  /// memory, valid until the next call.
  virtual Rows batch(int64_t step) = 0;
  /// Up to `count` examples of `valid` or `test`; valid while this lives.
  virtual eval::Examples examples(tasks::Split split, int64_t count) const = 0;
  /// Where the last evaluation takes place.
  virtual tasks::Split last_split() const { return tasks::Split::test; }
  /// Of the training data the recipe only names: a resumed run must find the same. 0: it names none.
  virtual uint64_t data_hash() const { return 0; }
};

/// Throws Error for shards that are missing, damaged or of another tokenizer.
std::unique_ptr<BatchSource> make_batch_source(const Recipe& recipe);

}  // namespace mara::train
