// Tokens per second of the data loader from the page cache on one core: shuffled windows of 256 tokens, checksums on.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>

#include "data/token_stream.h"
#include "kernels/common/philox.h"

namespace mara {
namespace {

/// A folder with one shard of 128 Mi bytes of noise.
class Shards {
 public:
  Shards() {
    std::filesystem::create_directories(folder_);
    data::ShardWriter writer(folder_, "train", *tokenizer_, "noise", kTokens);
    PhiloxSequence random(1, Purpose::task, 0);
    std::vector<int32_t> document(1 << 16);
    while (writer.tokens() < kTokens) {
      for (int32_t& id : document) id = static_cast<int32_t>(random.below(256));
      writer.append(document);
      writer.end_document();
    }
    writer.finish();
  }
  ~Shards() { std::filesystem::remove_all(folder_); }
  data::TokenStream stream(int64_t length, int64_t batch) const {
    std::vector<data::TokenSource> sources;
    sources.emplace_back(std::vector{(folder_ / "train-*.h5").string()}, *tokenizer_, "--data");
    return {std::move(sources), {}, 1, length, batch};
  }

 private:
  static constexpr int64_t kTokens = int64_t{1} << 26;
  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("mara_loader_bench_" + std::to_string(getpid()));
  std::unique_ptr<data::Tokenizer> tokenizer_ = data::make_tokenizer("bytes");
};

void loader(benchmark::State& state) {
  static const Shards shards;
  const int64_t length = state.range(0), batch = state.range(1);
  const data::TokenStream stream = shards.stream(length, batch);
  std::vector<int32_t> ids(static_cast<size_t>(length * batch)), targets(ids.size());
  int64_t step = 0;
  for (auto _ : state) {
    stream.fill(step++, 0, 1, ids, targets);
    benchmark::DoNotOptimize(targets.data());
  }
  state.SetItemsProcessed(step * length * batch);
}

// The first pass over a shard also checks its blocks, so fewer iterations show a lower figure.
BENCHMARK(loader)->ArgNames({"L", "B"})->Args({256, 64})->Args({1024, 16})->Args({64, 256})->UseRealTime();

}  // namespace
}  // namespace mara
