#include "eval/examples.h"

#include <algorithm>

#include "core/error.h"
#include "kernels/loss.h"

namespace mara::eval {

Examples task_examples(const tasks::Task& task, tasks::Split split, int64_t count) {
  Examples out{.count = count, .form = task.form(), .example = [&task, split](int64_t index, const tasks::Row& row) {
                 task.example(split, index, row);
               }};
  if (out.form.values) {
    out.reference = [&task](const tasks::Row& row, std::span<float> estimates) { task.reference(row, estimates); };
  } else if (out.form.targets == out.form.length) {
    out.distance = [&task](std::span<const int32_t> ids, int64_t position) { return task.distance(ids, position); };
  }
  return out;
}

Examples text_examples(const data::TokenSource& source, const data::Tokenizer& tokenizer, const Windows& windows) {
  const int64_t length = windows.length, stride = windows.stride == 0 ? length : windows.stride;
  MARA_CHECK(0 < stride && stride <= length, "evaluation: a stride from 1 to the window's ", length,
             " tokens is required, got ", stride);
  MARA_CHECK(source.tokens() > length, "evaluation: more than ", length,
             " tokens are required to fill one window, got ", source.tokens(), " from ",
             source.shards().front().path().string(), "; use more text or lower data.length");
  const int64_t all = (source.tokens() - 1 - length) / stride + 1;
  const int64_t count = windows.count == 0 ? all : std::min(windows.count, all);
  const auto example = [&source, stride, all, count](int64_t index, const tasks::Row& row) {
    const int64_t window = index * all / count;
    source.window(window * stride, row.ids, row.targets);
    if (window == 0) return;
    const size_t seen = row.targets.size() - static_cast<size_t>(stride);
    std::fill_n(row.targets.begin(), seen, kernels::kIgnoredTarget);
  };
  return {.count = count,
          .form = ExampleForm::tokens(tokenizer.vocabulary(), length),
          .example = example,
          .bytes = [&tokenizer](int32_t token) { return tokenizer.bytes(token); }};
}

}  // namespace mara::eval
