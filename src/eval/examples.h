#pragma once
// What there is to evaluate on: a task's examples, windows of a text.

#include "data/token_source.h"
#include "eval/evaluate.h"
#include "tasks/task.h"

namespace mara::eval {

/// Examples [0, count) of a split. The task must outlive them.
Examples task_examples(const tasks::Task& task, tasks::Split split, int64_t count);

struct Windows {
  int64_t length = 0;  // tokens the model reads at once, L
  /// From one window to the next. L, or 0: every token but the first is predicted once, from what stands before it in
  /// its window. Less: the first window scores all its tokens and each later one its last `stride`, so that all but
  /// the first L are predicted from at least L - stride tokens. The loss is lower, and only comparable at equal L and
  /// stride.
  int64_t stride = 0;
  int64_t count = 0;  // so many, evenly spread over the text; 0, or more than there are: all
};

/// Windows of L + 1 tokens of a text; what is left at its end, shorter than a stride, is not scored. Source and
/// tokenizer must outlive them. Throws Error for a text shorter than one window.
Examples text_examples(const data::TokenSource& source, const data::Tokenizer& tokenizer, const Windows& windows);

}  // namespace mara::eval
