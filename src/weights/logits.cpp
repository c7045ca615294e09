#include "weights/logits.h"

#include <algorithm>
#include <cmath>

#include "autograd/tape.h"
#include "io/safetensors.h"

namespace mara::weights {
namespace {

std::vector<float> logits_of(const train::LoadedModel& loaded, const Sequence& sequence) {
  const NoGrad no_grad;
  const Tensor ids = Tensor::from(sequence.ids, {1, static_cast<int64_t>(sequence.ids.size())}, loaded.arena->device());
  const std::vector<double> values = loaded.model->logits(ids, {.ids = ids}).to_host();
  const bool finite = std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
  MARA_CHECK(finite, loaded.path.string(), ": its logits for line ", sequence.line,
             " are not all finite; use an earlier checkpoint, or other weights");
  return {values.begin(), values.end()};
}

}  // namespace

void write_logits(const train::LoadedModel& loaded, const std::vector<Sequence>& sequences,
                  const std::filesystem::path& to, io::Existing existing) {
  std::vector<float> logits = logits_of(loaded, sequences[0]);
  const auto width = static_cast<int64_t>(logits.size() / sequences[0].ids.size());  // padded vocabulary
  std::vector<io::SafetensorsWriter::Declared> declared;
  const auto name = [](const char* what, const Sequence& sequence) {
    return std::string(what) + "." + std::to_string(sequence.line);
  };
  for (const Sequence& sequence : sequences) {
    const auto length = static_cast<int64_t>(sequence.ids.size());
    declared.push_back({name("logits", sequence), io::safetensors_dtype(Dtype::f32), {length, width}});
    declared.push_back({name("ids", sequence), io::safetensors_dtype(Dtype::i32), {length}});
  }
  io::AtomicFile atomic(to, existing);
  {
    io::SafetensorsWriter file(atomic.temporary(), declared, {});
    for (const Sequence& sequence : sequences) {
      if (&sequence != &sequences[0]) logits = logits_of(loaded, sequence);
      file.write(name("logits", sequence), std::as_bytes(std::span(logits)));
      file.write(name("ids", sequence), std::as_bytes(std::span(sequence.ids)));
    }
  }
  atomic.commit();
}

}  // namespace mara::weights
