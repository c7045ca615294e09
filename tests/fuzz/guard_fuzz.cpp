// The first 512 bytes of every file of ours.

#include "fuzz/guarded.h"

namespace {

using mara::io::FileKind;

const std::vector<mara::fuzz::Seed>& seeds() {
  static const std::vector<mara::fuzz::Seed> seeds = [] {
    std::vector<mara::fuzz::Seed> out;
    for (const std::vector<mara::io::ByteRange>& excluded :
         {std::vector<mara::io::ByteRange>{}, {{600, 640}}, {{512, 520}, {530, 530}, {700, 701}}}) {
      const size_t length = 701 + 100 * out.size();
      out.push_back({.bytes = mara::fuzz::written([&](const std::filesystem::path& path) {
                       std::ofstream(path) << std::string(length, 'x') << std::flush;
                       mara::io::seal(path, FileKind::checkpoint, excluded);
                     }),
                     .contents = {{mara::io::kGuardBytes, static_cast<int64_t>(length)}}});
    }
    return out;
  }();
  return seeds;
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return mara::fuzz::mutate_guarded(seeds(), data, size, max_size, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mara::fuzz::read_as_file(data, size, [&](const std::filesystem::path& path) {
    const mara::io::Guard guard = mara::io::verify(path, FileKind::checkpoint);
    int64_t last = mara::io::kGuardBytes;
    for (const mara::io::ByteRange& range : guard.excluded) {
      if (range.begin < last || range.end < range.begin || range.end > guard.length) std::abort();
      last = range.end;
    }
    if (guard.length != static_cast<int64_t>(size)) std::abort();
  });
  return 0;
}
