#include "train/samples.h"

#include <algorithm>

#include "data/tokenizer.h"
#include "generate/generator.h"

namespace mara::train {
namespace {

constexpr int64_t kSamples = 3, kPrompt = 64, kContinuation = 200;
constexpr double kTemperature = 0.8;

}  // namespace

std::string sample_texts(const Recipe& recipe, const models::Model& model, const eval::Examples& held_out,
                         Device device) {
  const auto tokenizer = data::make_tokenizer(recipe.data->tokenizer);
  const int64_t prompt = std::min(kPrompt, (held_out.form.length + 1) / 2), count = std::min(kSamples, held_out.count);
  std::vector<std::vector<int32_t>> prompts;
  std::vector<int32_t> ids(static_cast<size_t>(held_out.form.length)), targets(ids.size());
  for (int64_t i = 0; i < count; ++i) {
    held_out.example(i * held_out.count / count, {ids, targets});
    prompts.emplace_back(ids.begin(), ids.begin() + prompt);
  }
  const generate::Sampler sampler({.temperature = kTemperature, .seed = recipe.seed()});
  const auto written = generate::generate(model, device, prompts, sampler,
                                          {.max_tokens = std::min(kContinuation, held_out.form.length - prompt + 1),
                                           .vocabulary = tokenizer->vocabulary(),
                                           .stop = tokenizer->separator()});
  std::string out;
  for (size_t i = 0; i < prompts.size(); ++i) {
    out += (i > 0 ? "\n\n" : "") + ("--- " + std::to_string(i + 1)) +
           ", held-out text: " + tokenizer->decode(prompts[i]) + "\n--- goes on: " + tokenizer->decode(written[i]);
  }
  return out + "\n";
}

}  // namespace mara::train
