// Weights in the safetensors format, from anywhere: no checksum, every byte is the format's own.

#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "fuzz/fuzz.h"
#include "io/safetensors.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {

using mara::io::SafeMetadata, mara::io::SafeTensor, mara::io::SafetensorsReader, mara::io::SafetensorsWriter;

constexpr size_t kLengthBytes = 8;

std::string with_header(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

std::string make_seed(const std::vector<SafetensorsWriter::Declared>& tensors, const SafeMetadata& metadata) {
  return mara::fuzz::written(
      [&](const std::filesystem::path& path) { const SafetensorsWriter writer(path, tensors, metadata); });
}

const std::vector<std::string>& seeds() {
  static const std::vector<std::string> seeds = {
      make_seed({{"weight", "F32", {3, 2}}, {"bias", "BF16", {3}}, {"empty", "I64", {0, 4}}},
                {{"format", "pt"}, {"recipe", "run: {name: a}\n"}}),
      make_seed({{"a", "F64", {}}, {"b", "U8", {1, 1, 1, 1, 5}}, {"c", "BOOL", {2}}}, {}),
      with_header(R"({"\u0061\n":{"data_offsets":[0,3],"shape":[2,3],"dtype":"F4"},)"
                  R"("__metadata__":{"\ud83d\ude00":"x"}}   )",
                  "abc"),
      with_header("{}", "")};
  return seeds;
}

}  // namespace

/// Changes the header, or what follows, and makes the length in front right again; or anything, without that. An input
/// of a byte or none becomes a seed, so an empty corpus will do.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned random_seed) {
  std::minstd_rand random(random_seed);
  uint64_t length = 0;
  if (size >= kLengthBytes) std::memcpy(&length, data, sizeof length);
  std::string out;
  if (size <= 1) {
    out = seeds()[random() % seeds().size()];
  } else if (size < kLengthBytes || length > size - kLengthBytes || random() % 8 == 0) {
    return LLVMFuzzerMutate(data, size, max_size);
  } else {
    const char* header_begin = reinterpret_cast<const char*>(data) + kLengthBytes;
    std::string header(header_begin, length), rest(header_begin + length, size - kLengthBytes - length);
    std::string& changed = random() % 8 == 0 ? rest : header;
    const size_t old_size = changed.size();
    changed.resize(old_size + 64);
    changed.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(changed.data()), old_size, changed.size()));
    out = with_header(header, rest);
  }
  if (out.size() > max_size) return size;
  std::memcpy(data, out.data(), out.size());
  return out.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mara::fuzz::read_as_file(data, size, [&](const std::filesystem::path& path) {
    const SafetensorsReader reader(path);
    int64_t total = 0;
    for (const SafeTensor& tensor : reader.tensors()) {
      if (reader.find(tensor.name) != &tensor) std::abort();
      std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes.end - tensor.bytes.begin));
      reader.read(tensor, 0, bytes);
      total += static_cast<int64_t>(bytes.size());
    }
    uint64_t length = 0;
    std::memcpy(&length, data, sizeof length);
    if (total != static_cast<int64_t>(size - kLengthBytes - length)) std::abort();
  });
  return 0;
}
