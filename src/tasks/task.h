#pragma once
// Synthetic tasks: every example is a pure function of (seed, split, index), so nothing is stored and any example
// can be asked for again, by any thread or rank.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "config/fields.h"
#include "core/example_form.h"
#include "kernels/common/philox.h"

namespace mara::tasks {

/// Examples of different splits are never equal (but see Task::splits_are_disjoint): a hash of the tokens decides which
/// split an example may belong to (split.h), and drawing is repeated until it fits.
enum class Split : uint8_t { train, valid, test };

std::string to_string(Split split);

/// Where an example is written. What its task does not have is empty.
struct Row {
  std::span<int32_t> ids;        // L tokens, or
  std::span<int32_t> targets;    // what to predict, kernels::kIgnoredTarget where nothing is scored
  std::span<float> inputs = {};  // L times `features` real numbers
  std::span<float> values = {};  // what to predict where a target is 0, of tasks that have values
};

class Task {
 public:
  virtual ~Task() = default;
  virtual ExampleForm form() const = 0;
  /// Writes an example; targets[t] is what the model should predict at t. In valid and test only the answer is scored.
  void example(Split split, int64_t index, const Row& row) const;
  /// How far the answer is from where it is asked for: `position`, where a key to look up ends, minus the place where
  /// its last earlier occurrence ends; where there is no key, minus the place of the answer. 0 where the answer stands
  /// nowhere. Of positions that are scored in valid and test.
  virtual int64_t distance(std::span<const int32_t>, int64_t) const { return 0; }
  /// Of tasks with values: what the best known method predicts for each from the same inputs.
  virtual void reference(const Row&, std::span<float>) const {}
  /// False where a split is only another draw: the task is to know what all examples have in common.
  virtual bool splits_are_disjoint() const { return true; }
  /// Of files that examples are made of, which the recipe only names; 0: there are none.
  virtual uint64_t data_hash() const { return 0; }

 protected:
  explicit Task(uint64_t seed) : seed_(seed) {}
  /// One example made of `random` alone. Only what is scored should depend on the split, unless the task is defined
  /// otherwise (fuzzy_recall).
  virtual void draw(PhiloxSequence& random, Split split, const Row& row) const = 0;

 private:
  uint64_t seed_;
};

/// The recipe's `task:` mapping: the kind, that kind's own options, and `examples`.
class TaskConfig {
 public:
  /// A kind's own options: they bind themselves and make the task.
  class Options {
   public:
    virtual ~Options() = default;
    virtual void fields(config::Fields& f) = 0;
    virtual std::unique_ptr<Task> make(uint64_t seed) const = 0;

    int64_t train_examples = 0;
  };

  std::string kind;
  void fields(config::Fields& f);
  /// Throws Error where the options allow too few different examples for three splits. The last one is kept, also by
  /// copies: what a task reads is read once, however often a recipe is passed over.
  std::shared_ptr<const Task> make(uint64_t seed) const;
  /// Training examples are those with an index below this; 0: a fresh one every time.
  int64_t train_examples() const { return options_->train_examples; }

 private:
  struct Made {
    std::string from;  // options and seed
    std::shared_ptr<const Task> task;
  };

  std::shared_ptr<Options> options_;
  mutable Made last_;
};

}  // namespace mara::tasks
