// Checkpoints: opening, loading a whole state, loading a part of it.

#include <cmath>
#include <numeric>

#include "checkpoint/checkpoint.h"
#include "fuzz/guarded.h"

namespace {

using namespace mara;

Tensor ramp(int64_t count, const Shape& shape, Dtype dtype) {
  std::vector<double> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0.5);
  return Tensor::from(values, shape, dtype, Device{});
}

struct State {
  Tensor weight = ramp(15, {3, 5}, Dtype::f32), half = ramp(7, {7}, Dtype::bf16), wide = ramp(4, {2, 2}, Dtype::f64);
  int64_t step = 3, count = 5;

  checkpoint::StateFunction function() {
    return [this](StateVisitor& v) {
      v.integer("step", step);
      v.integer("count", count);
      v.same("seed", "1234567");
      v.tensor("weight", weight);
      v.tensor("half", half);
      v.tensor("wide", wide);
    };
  }
};

fuzz::Seed make_seed(const std::string& recipe, const std::optional<checkpoint::Score>& score) {
  fuzz::Seed seed;
  seed.bytes = fuzz::written([&](const std::filesystem::path& path) {
    State state;
    checkpoint::Snapshot snapshot(state.function());
    snapshot.capture(state.function());
    snapshot.write(path, recipe, score);
    const io::Hdf5Reader file(path, io::FileKind::checkpoint);
    std::ifstream stream(path, std::ios::binary);
    seed.bytes = {std::istreambuf_iterator<char>(stream), {}};
    for (const io::Dataset& dataset : file.datasets()) {
      seed.contents.push_back(dataset.bytes);
      const std::string hash = file.text(dataset, "xxh3");
      seed.add_attribute("xxh3", hash);
      seed.checksums.push_back({dataset.bytes, static_cast<size_t>(seed.contents.back().begin), true});
    }
    for (const char* name : {"format", "recipe", "seed"}) seed.add_attribute(name, file.text(name));
    for (const char* name : {"step", "count"}) seed.add_attribute(name, file.integer(name));
    if (score) seed.add_attribute("score", file.text("score"));
  });
  return seed;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned random) {
  static const std::vector<fuzz::Seed> seeds = {
      make_seed("run: {name: toy}\n", std::nullopt),
      make_seed("run: {name: toy}\n" + std::string(300, '#'), checkpoint::Score{"accuracy", 0.375})};
  return fuzz::mutate_guarded(seeds, data, size, max_size, random);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::read_as_file(data, size, [](const std::filesystem::path& path) {
    State state;
    const checkpoint::Checkpoint file(path);
    file.load(state.function());
    file.load_part([&](StateVisitor& v) { v.tensor("weight", state.weight); });
    for (const double value : state.wide.to_host()) {
      if (!std::isfinite(value)) std::abort();
    }
  });
  return 0;
}
