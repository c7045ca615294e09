#include "generate/generator.h"

#include <algorithm>
#include <map>

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

/// Prompts of one length, each with its index.
using Group = std::vector<size_t>;

/// Appends to `rows`, which begin as the prompts, what is drawn for those of `group`.
void extend(Rows& rows, const Group& group, const models::Model& model, Device device, const Sampler& sampler,
            const GeneratorOptions& options, const OnToken& on_token) {
  const auto count = static_cast<int64_t>(group.size());
  const auto prompt = static_cast<int64_t>(rows[group[0]].size());
  models::Generation generation = model.start(count, prompt + options.max_tokens - 1);
  std::vector<int32_t> ids;
  for (const size_t row : group) ids.insert(ids.end(), rows[row].begin(), rows[row].end());
  Tensor logits = model.prefill(Tensor::from(ids, {count, prompt}, device), generation);

  ids.resize(group.size());
  std::vector<bool> ended(group.size());
  for (int64_t position = prompt; true; ++position) {
    const std::vector<double> host = logits.to_host();
    const size_t padded = host.size() / group.size();
    for (size_t i = 0; i < group.size(); ++i) {
      if (ended[i]) continue;  // what its last token is followed by does not matter
      const std::span<const double> own(host.data() + i * padded, static_cast<size_t>(options.vocabulary));
      ids[i] = sampler.sample(own, static_cast<int64_t>(group[i]), position);
      rows[group[i]].push_back(ids[i]);
      if (on_token) on_token(group[i], ids[i]);
      ended[i] = ids[i] == options.stop || position + 1 == prompt + options.max_tokens;
    }
    if (std::find(ended.begin(), ended.end(), false) == ended.end()) return;
    logits = model.step(Tensor::from(ids, {count}, device), generation);
  }
}

}  // namespace

Rows generate(const models::Model& model, Device device, const Rows& prompts, const Sampler& sampler,
              const GeneratorOptions& options, const OnToken& on_token) {
  check(prompts, options);
  std::map<size_t, Group> by_length;
  for (size_t row = 0; row < prompts.size(); ++row) by_length[prompts[row].size()].push_back(row);
  Rows rows = prompts;
  for (const auto& [length, group] : by_length) extend(rows, group, model, device, sampler, options, on_token);
  for (size_t row = 0; row < rows.size(); ++row) {
    rows[row].erase(rows[row].begin(), rows[row].begin() + static_cast<ptrdiff_t>(prompts[row].size()));
  }
  return rows;
}

}  // namespace mara::generate
