#pragma once

#include "tasks/task.h"

namespace mara::tasks {

struct ListopsConfig {
  int64_t min_length = 500;
  int64_t max_length = 2000;
  int64_t max_depth = 10;
  int64_t max_args = 10;
  void fields(config::Fields& f);
};

/// Evaluate a bracketed expression (Nangia and Bowman, 1804.06028; Long Range Arena, 2011.04006):
///   [MAX 2 9 [MIN 4 7 ] 0 ]  ->  9
/// A tree at depth 1 .. max_depth - 1 is with probability 1/4 an operator of MIN, MAX, MED, SM over 2 to max_args
/// (uniform) trees one deeper, else, and at max_depth always, a uniform digit. MED is the median, of an even number the
/// mean of the middle two without its fraction, SM the sum mod 10. Expressions of min_length < tokens < max_length are
/// kept; the text's parentheses, which only repeat the brackets, are left out.
///
/// V = 18 tokens: 0 padding, 1 unknown (not used), 2 end, 3 to 12 the digits, 13 to 16 "[MIN", "[MAX", "[MED", "[SM",
/// 17 "]". An expression, the end token and padding fill L = max_length tokens. The class is the value.
/// Chance level: 10 %; the commonest value of the published lengths is 0, 17 %.
class Listops final : public Task {
 public:
  using Config = ListopsConfig;
  Listops(const Config& config, uint64_t seed) : Task(seed), config_(config) {}

  ExampleForm form() const override {
    return {.vocabulary = 18, .length = config_.max_length, .targets = 1, .classes = 10, .padded = true};
  }

  /// The value of an expression as ids, the end token and padding not needed.
  static int32_t value(std::span<const int32_t> ids);

 protected:
  void draw(PhiloxSequence& random, Split split, const Row& row) const override;

 private:
  /// Writes a tree of `depth` behind the `size` tokens that are there, as far as there is room; returns the size then,
  /// ids.size() or more for one that is too long.
  size_t tree(PhiloxSequence& random, int64_t depth, std::span<int32_t> ids, size_t size) const;

  Config config_;
};

}  // namespace mara::tasks
