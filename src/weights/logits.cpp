#include "weights/logits.h"

#include <cctype>
#include <fstream>

#include "autograd/tape.h"
#include "io/atomic_file.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "models/language_model.h"

namespace mara::weights {
namespace {

std::vector<float> logits_of(const train::LoadedModel& loaded, const Sequence& sequence) {
  const NoGrad no_grad;
  const Tensor ids = Tensor::from(sequence.ids, {1, static_cast<int64_t>(sequence.ids.size())}, loaded.arena->device());
  const std::vector<double> values = loaded.model->logits(ids, {.ids = ids}).to_host();
  return {values.begin(), values.end()};
}

// Of the model, which may know more ids than the data uses.
int64_t vocabulary_of(const train::Recipe& recipe) {
  const auto* options = dynamic_cast<const models::LanguageModelOptions*>(recipe.model.options.get());
  return options != nullptr && options->vocab > 0 ? options->vocab : recipe.model_setup().vocabulary;
}

}  // namespace

std::vector<Sequence> read_sequences(const std::filesystem::path& path, const train::Recipe& recipe) {
  const int64_t vocabulary = vocabulary_of(recipe), length = recipe.model_setup().length;
  io::File::open_to_read(path);  // refuses what is no file
  std::ifstream file(path, std::ios::binary);
  std::vector<Sequence> out;
  Sequence now{.line = 1, .ids = {}};
  int64_t column = 0, id = -1;  // -1: between ids
  const auto fail = [&](std::initializer_list<detail::Part> what) {
    throw Error(detail::join({path.string(), ":", now.line, ":", column, ": ", detail::join(what)}));
  };
  for (std::istreambuf_iterator<char> at(file), end;; ++at) {
    const bool over = at == end;
    const char c = over ? '\n' : *at;
    ++column;
    if (c >= '0' && c <= '9') {
      if (id < 0 && static_cast<int64_t>(now.ids.size()) == length) {
        fail({"at most ", length, " ids a line are read, the length the model was trained for; cut the line"});
      }
      id = std::max<int64_t>(id, 0) * 10 + (c - '0');
      if (id >= vocabulary) fail({"ids below the vocabulary's size ", vocabulary, " are required, got ", id});
      continue;
    }
    if (std::isspace(static_cast<unsigned char>(c)) == 0) {
      fail({"ids and spaces are required, got byte ", static_cast<int>(static_cast<unsigned char>(c))});
    }
    if (id >= 0) now.ids.push_back(static_cast<int32_t>(std::exchange(id, -1)));
    if (c != '\n') continue;
    const int64_t next = now.line + 1;
    if (!now.ids.empty()) out.push_back(std::move(now));
    now = {.line = next, .ids = {}};
    column = 0;
    if (over) break;
  }
  MARA_CHECK(!out.empty(), path.string(), ": a sequence of ids a line is required, there is none");
  return out;
}

void write_logits(const train::LoadedModel& loaded, const std::vector<Sequence>& sequences,
                  const std::filesystem::path& to, bool force) {
  int64_t width = 0;  // padded vocabulary
  std::vector<io::SafetensorsWriter::Declared> declared;
  const auto name = [](const char* what, const Sequence& sequence) {
    return std::string(what) + "." + std::to_string(sequence.line);
  };
  std::vector<float> logits = logits_of(loaded, sequences[0]);
  width = static_cast<int64_t>(logits.size() / sequences[0].ids.size());
  for (const Sequence& sequence : sequences) {
    const auto length = static_cast<int64_t>(sequence.ids.size());
    declared.push_back({name("logits", sequence), io::safetensors_dtype(Dtype::f32), {length, width}});
    declared.push_back({name("ids", sequence), io::safetensors_dtype(Dtype::i32), {length}});
  }
  io::AtomicFile atomic(to, force ? io::Existing::replace : io::Existing::refuse);
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
