#pragma once

#include <cstdint>

namespace mara {

/// What an example of a task or a text holds: what a model reads, and what it is to predict.
struct ExampleForm {
  int64_t vocabulary = 0;  // token ids are in [0, vocabulary); 0 where the model reads real numbers
  int64_t length = 0;      // positions, L
  int64_t targets = 0;     // L, one at each position; or 1, of the example as a whole
  int64_t classes = 0;     // targets are in [0, classes)
  int64_t features = 0;    // real numbers per position that the model reads instead of a token, F; 0: tokens
  bool values = false;     // what is to be predicted are real numbers; all targets are of class 0 then
  bool padded = false;     // examples are shorter than L and end in padding, id 0

  /// Tokens, and at each position one to predict.
  static ExampleForm tokens(int64_t vocabulary, int64_t length) {
    return {.vocabulary = vocabulary, .length = length, .targets = length, .classes = vocabulary};
  }
};

}  // namespace mara
