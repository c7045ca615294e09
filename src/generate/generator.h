#pragma once
// Continues prompts.

#include <functional>
#include <optional>
#include <vector>

#include "generate/sampler.h"
#include "models/model.h"

namespace mara::generate {

struct GeneratorOptions {
  int64_t max_tokens = 1;       // new ones for each prompt
  int64_t vocabulary = 0;       // ids are below it; the model's padded rows beyond it are never drawn
  std::optional<int32_t> stop;  // a row ends after this token
};

/// Called for every new token as it is drawn: the prompt's index and the token.
using OnToken = std::function<void(size_t prompt, int32_t token)>;

/// The new tokens of each prompt, a stop token included. Prompts of one length, at least one token, go through the
/// model as one batch: read at once, then token by token; one length after another. A row's draws depend on its tokens,
/// its index and the seed, and on the other rows only as far as the last bits of the logits do on the size of the
/// batch. Throws Error where the longest prompt and the new tokens (but the last, which nothing reads) are more than
/// the model was made for, and for logits that are not finite.
std::vector<std::vector<int32_t>> generate(const models::Model& model, Device device,
                                           const std::vector<std::vector<int32_t>>& prompts, const Sampler& sampler,
                                           const GeneratorOptions& options, const OnToken& on_token = {});

}  // namespace mara::generate
