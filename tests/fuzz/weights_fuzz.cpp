// What import and logits read besides safetensors: weights in HDF5, maps of names, lines of ids.

#include <cmath>
#include <string_view>

#include "fuzz/guarded.h"
#include "models/model.h"
#include "weights/names.h"
#include "weights/sequences.h"
#include "weights/weights_file.h"

namespace {

using namespace mara;

constexpr float kValues[] = {1.5f, -2.0f, 0.25f, 3e30f, 0.0f, 7.0f};

fuzz::Seed make_seed(Dtype dtype, const std::string& recipe) {
  fuzz::Seed seed;
  seed.bytes = fuzz::written([&](const std::filesystem::path& path) {
    // The ending says which format it is.
    const std::filesystem::path named = path.string() + ".h5";
    weights::write_weights(named, {{"weight", dtype, {2, 3}, kValues}, {"bias", Dtype::f32, {5}, kValues}},
                           {{"recipe", recipe}, {"step", "7"}}, io::Existing::replace);
    std::filesystem::rename(named, path);
    const io::Hdf5Reader file(path, io::FileKind::weights);
    std::ifstream stream(path, std::ios::binary);
    seed.bytes = {std::istreambuf_iterator<char>(stream), {}};
    for (const io::Dataset& dataset : file.datasets()) seed.contents.push_back(dataset.bytes);
    for (const char* name : {"format", "recipe", "step"}) seed.add_attribute(name, file.text(name));
    seed.add_attribute("format_version", file.integer("format_version"));
  });
  return seed;
}

void read_weights(const std::filesystem::path& path) {
  const std::unique_ptr<weights::WeightsReader> file = weights::open_weights(path);
  for (size_t i = 0; i < file->tensors().size(); ++i) {
    const weights::StoredTensor& stored = file->tensors()[i];
    const std::vector<std::byte> bytes = file->read(i);
    if (!weights::is_floating(stored.dtype)) continue;
    const Tensor values = Tensor::empty(stored.shape, Dtype::f32, kCpu);
    const int64_t wrong = weights::convert(bytes, stored.dtype, values);
    const std::vector<double> numbers = values.to_host();
    const auto first = std::find_if(numbers.begin(), numbers.end(), [](double x) { return !std::isfinite(x); });
    if (wrong != (first == numbers.end() ? -1 : first - numbers.begin())) std::abort();
  }
}

/// Parameters to be named, and nothing else.
struct Named : models::Model {
  Named() {
    for (const char* name : {"head", "table"}) param(name, {4, 3}, nn::Init::zeros());
    for (const char* name : {"layer0", "layer12"}) param(name, {2}, nn::Init::zeros());
  }
  ops::Loss loss(const models::Batch&, const nn::Context&, bool) override { return {}; }
  Tensor logits(const Tensor&, const nn::Context&) override { return {}; }
  int64_t vocabulary() const override { return 4; }
  std::string tied() const override { return "alias=table"; }
};

void read_names(const std::filesystem::path& path) {
  Named model;
  const weights::NameMap map(path.string(), model);
  for (const weights::NamedParameter& named : map.parameters()) {
    if (named.theirs.empty() || named.shape.numel() != named.parameter->shape().numel()) std::abort();
    map.ignored(named.theirs[0]);
  }
}

void read_ids(const std::filesystem::path& path) {
  for (const weights::Sequence& sequence : weights::read_sequences(path, 300, 40)) {
    if (sequence.ids.empty() || sequence.ids.size() > 40 || sequence.line < 1) std::abort();
    for (const int32_t id : sequence.ids) {
      if (id < 0 || id >= 300) std::abort();
    }
  }
}

constexpr std::string_view kNames =
    "table: [wte, also]\nlayer{i}: 'layers.{i}.w [a, 1]'\n'*': 'rest.*'\nignored: [b{i}, 'x*']\n";
constexpr std::string_view kIds = "1 2 3\n\n 299\t0\r\n7";

}  // namespace

/// Files of weights, and texts: those begin with none of the guard's mark.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned random) {
  static const std::vector<fuzz::Seed> seeds = {make_seed(Dtype::f32, "run: {name: toy}\n"),
                                                make_seed(Dtype::bf16, "run: {name: toy}\n" + std::string(300, '#'))};
  const bool is_text = size > 1 && data[0] < 0x80;
  if (is_text || (size <= 1 && random % 2 == 0)) {
    if (size > 1 || max_size < kNames.size()) return LLVMFuzzerMutate(data, size, max_size);
    const std::string_view seed = random % 4 == 0 ? kNames : kIds;
    std::memcpy(data, seed.data(), seed.size());
    return seed.size();
  }
  return fuzz::mutate_guarded(seeds, data, size, max_size, random);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0 && data[0] >= 0x80) {
    fuzz::read_as_file(data, size, read_weights, ".h5");
  } else {
    fuzz::read_as_file(data, size, read_names);
    fuzz::read_as_file(data, size, read_ids);
  }
  return 0;
}
