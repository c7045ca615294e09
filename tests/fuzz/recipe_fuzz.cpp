// The recipe reader, and the options with the most rules. Options of models are left out: they need every layer there
// is, which takes long to build with sanitizers.

#include <cstring>
#include <iterator>

#include "config/fields.h"
#include "config/sample.h"
#include "core/error.h"
#include "data/data_config.h"
#include "optim/schedule.h"
#include "tasks/task.h"

namespace {

using namespace mara;

struct Recipe {
  config::Recipe sample;
  std::optional<tasks::TaskConfig> task;
  std::optional<data::DataConfig> data;
  optim::ScheduleConfig schedule;
  void fields(config::Fields& f) {
    f.group("sample", sample, "");
    f.optional_group("task", task, "");
    f.optional_group("data", data, "");
    f.group("schedule", schedule, "");
  }
};

const std::string kSeeds[] = {
    config::kSample,
    config::kSample + "--set model.width=48\n",
    "sample:\n  model: {width: 3, mixer: {kind: s4d, state: 8}}\n  quiet: true\n  sizes: [1, 3]\n  clip: {norm: 0.5}\n"
    "task: {kind: associative_recall, vocab: 20, length: 40, num_keys: 2, allow_dot: true, examples: 0}\n"
    "schedule: {kind: wsd, warmup: 10, floor: 0.0, decay: 1.0e-1}\n",
    "sample: {model: {width: 3, mixer: {kind: hyena}}, name: \"a \\x41\", schedule: linear}\n"
    "task:\n  kind: mqar  # comment\n  vocab: 64\n  length: 32\n  num_pairs: 4\n  power_a: 0.1\n  num_passes: 2\n",
    "sample: {model: {width: 3, mixer: {kind: hyena}}, name: 'it''s'}\n"
    "task: {kind: induction_heads, vocab: 9, length: 12, copy_length: 2, num_triggers: 3, dense_loss: false}\n",
    "sample: {model: {width: 3, mixer: {kind: hyena}}, name: |-\n    two\n    lines\n}\n",
    "data:\n  train: [a-*.h5, b.h5]\n  weights:\n  - 1\n  - 3\n  valid: c.h5\n  length: 64\n"
    "sample:\n  name: >\n    folded\n  model:\n    width: 3\n    mixer: {kind: hyena}\n--set data.length=32"};

template <class Config>
void read(const config::Document& document) {
  try {
    Config value;
    document.read(value);
    // What was read and printed must read back to the same.
    const std::string text = config::to_yaml(value);
    Config again;
    config::Document::parse(text, "printed").read(again);
    if (config::to_yaml(again) != text) std::abort();
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

/// An input of a byte or none becomes a seed, so an empty corpus will do.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned random) {
  const std::string& seed = kSeeds[random % std::size(kSeeds)];
  if (size > 1 || seed.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, seed.data(), seed.size());
  return seed.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  // What follows a line "--set" is an override.
  const size_t cut = input.find("\n--set ");
  try {
    config::Document document = config::Document::parse(input.substr(0, cut), "input");
    if (cut != std::string::npos) document.set(input.substr(cut + 7));
    read<Recipe>(document);
    read<config::Recipe>(document);
  } catch (const Error&) {
  }
  return 0;
}
