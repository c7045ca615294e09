#include "generate/generator.h"

#include <algorithm>

#include "core/error.h"

namespace mara::generate {
namespace {

using Rows = std::vector<std::vector<int32_t>>;

void check(const Rows& prompts, const GeneratorOptions& options) {
  MARA_CHECK(!prompts.empty() && options.max_tokens >= 1, "generating: at least one prompt and one new token are ",
             "required, got ", prompts.size(), " and ", options.max_tokens);
  for (size_t row = 0; row < prompts.size(); ++row) {
    MARA_CHECK(!prompts[row].empty(), "prompt ", row + 1, ": is empty, at least one token is required");
    for (const int32_t id : prompts[row]) {
      MARA_CHECK(id >= 0 && id < options.vocabulary, "prompt ", row + 1, ": token ids from 0 to ",
                 options.vocabulary - 1, " are required, got ", id);
    }
  }
}

}  // namespace

Rows generate(const models::Model& model, Device device, const Rows& prompts, const Sampler& sampler,
              const GeneratorOptions& options, const OnToken& on_token) {
  check(prompts, options);
  const auto count = static_cast<int64_t>(prompts.size());
  const auto shorter = [](const auto& a, const auto& b) { return a.size() < b.size(); };
  const auto [shortest, longest] = std::minmax_element(prompts.begin(), prompts.end(), shorter);
  const size_t common = shortest->size();
  models::Generation generation = model.start(count, static_cast<int64_t>(longest->size()) + options.max_tokens - 1);

  std::vector<int32_t> ids;
  for (const auto& prompt : prompts)
    ids.insert(ids.end(), prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(common));
  Tensor logits = model.prefill(Tensor::from(ids, {count, static_cast<int64_t>(common)}, device), generation);

  Rows rows = prompts;  // and what was drawn for them
  const auto ended = [&](size_t row) {
    const size_t drawn = rows[row].size() - prompts[row].size();
    return static_cast<int64_t>(drawn) == options.max_tokens || (drawn > 0 && rows[row].back() == options.stop);
  };
  ids.resize(prompts.size());
  for (size_t position = common;; ++position) {
    const std::vector<double> host = logits.to_host();
    bool all_ended = true;
    for (size_t row = 0; row < rows.size(); ++row) {
      if (rows[row].size() == position && !ended(row)) {
        const std::span<const double> own(host.data() + row * host.size() / rows.size(),
                                          static_cast<size_t>(options.vocabulary));
        rows[row].push_back(sampler.sample(own, static_cast<int64_t>(row), static_cast<int64_t>(position)));
        if (on_token) on_token(row, rows[row].back());
      }
      all_ended = all_ended && ended(row);
      ids[row] = rows[row][std::min(position, rows[row].size() - 1)];  // of a row that has ended: anything
    }
    if (all_ended) break;
    logits = model.step(Tensor::from(ids, {count}, device), generation);
  }
  for (size_t row = 0; row < rows.size(); ++row) {
    rows[row].erase(rows[row].begin(), rows[row].begin() + static_cast<ptrdiff_t>(prompts[row].size()));
  }
  return rows;
}

}  // namespace mara::generate
