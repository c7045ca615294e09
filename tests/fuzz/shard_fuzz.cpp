// Token shards: opening, verifying, reading.

#include <array>

#include "data/shard.h"
#include "fuzz/guarded.h"

namespace {

using mara::fuzz::Seed;

/// `documents` documents of `length` tokens each.
Seed make_seed(int64_t documents, size_t length) {
  const std::filesystem::path folder = mara::fuzz::input_path().string() + "_shards";
  std::filesystem::create_directories(folder);
  const auto tokenizer = mara::data::make_tokenizer("bytes");
  mara::data::ShardWriter writer(folder, "seed", *tokenizer, "a source", 4000);
  for (int64_t i = 0; i < documents; ++i) {
    writer.append(std::vector<int32_t>(length, static_cast<int32_t>(i + 65)));
    writer.end_document();
  }
  writer.finish();
  const std::filesystem::path path = folder / "seed-00000.h5";
  std::ifstream file(path, std::ios::binary);
  Seed seed{.bytes = {std::istreambuf_iterator<char>(file), {}}};
  {
    const mara::io::Hdf5Reader reader(path, mara::io::FileKind::shard);
    for (const mara::io::Dataset& dataset : reader.datasets()) seed.contents.push_back(dataset.bytes);
    seed.checksums.push_back(
        {reader.find("tokens")->bytes, static_cast<size_t>(reader.find("checksums")->bytes.begin), false});
    for (const char* name : {"format", "tokenizer", "tokenizer_xxh3", "separator_position", "source"}) {
      seed.add_attribute(name, reader.text(name));
    }
    for (const char* name : {"format_version", "vocab_size", "separator_id", "num_tokens"}) {
      seed.add_attribute(name, reader.integer(name));
    }
  }
  std::filesystem::remove_all(folder);
  return seed;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  static const std::vector<Seed> seeds = {make_seed(1, 9), make_seed(3, 700), make_seed(300, 1)};
  return mara::fuzz::mutate_guarded(seeds, data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mara::fuzz::read_as_file(data, size, [](const std::filesystem::path& path) {
    const mara::data::ShardReader shard(path);
    shard.verify();
    std::array<int32_t, 7> ids{};
    const int64_t count = std::min<int64_t>(7, shard.tokens());
    shard.prefetch(0, count);
    shard.read(shard.tokens() - count, std::span(ids).first(static_cast<size_t>(count)));
    for (const int32_t id : ids) {
      if (id < 0 || id >= shard.info().vocabulary) std::abort();
    }
  });
  return 0;
}
