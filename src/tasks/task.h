#pragma once
// Synthetic tasks: every example is a pure function of (seed, split, index), so nothing is stored and any example
// can be asked for again, by any thread or rank.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "config/fields.h"
#include "kernels/common/philox.h"

namespace mara::tasks {

/// Examples of different splits are never equal: a hash of the tokens decides which split an example may belong to
/// (split.h), and drawing is repeated until it fits.
enum class Split : uint8_t { train, valid, test };

std::string to_string(Split split);

class Task {
 public:
  virtual ~Task() = default;
  virtual int64_t vocabulary() const = 0;  // token ids are in [0, vocabulary)
  virtual int64_t length() const = 0;      // tokens the model reads per example, L
  /// Writes ids[L] and targets[L]; targets[t] is what the model should predict at t, kernels::kIgnoredTarget where
  /// nothing is scored. In valid and test only the answer is scored.
  void example(Split split, int64_t index, std::span<int32_t> ids, std::span<int32_t> targets) const;
  /// How far the answer is from where it is asked for: `position`, where a key to look up ends, minus the place where
  /// its last earlier occurrence ends. 0 where there is none. Of positions that are scored in valid and test.
  virtual int64_t distance(std::span<const int32_t> ids, int64_t position) const = 0;

 protected:
  explicit Task(uint64_t seed) : seed_(seed) {}
  /// One example made of `random` alone. Its tokens must not depend on the split, only what is scored may.
  virtual void draw(PhiloxSequence& random, Split split, std::span<int32_t> ids, std::span<int32_t> targets) const = 0;

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
  /// Throws Error where the options allow too few different examples for three splits.
  std::unique_ptr<Task> make(uint64_t seed) const;
  /// Training examples are those with an index below this; 0: a fresh one every time.
  int64_t train_examples() const { return options_->train_examples; }

 private:
  std::shared_ptr<Options> options_;
};

}  // namespace mara::tasks
