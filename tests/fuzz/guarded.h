#pragma once
// Mutation of files behind the guard of io/guard.h. Almost every random change is refused for its checksum, so checks
// behind it would never be reached: here a changed file gets the checksums it names made right again.
//
// A file's structure belongs to libhdf5, which crashes and hangs on damaged structure; that is what the guard is for.
// So only the contents are changed (elements of datasets, values of attributes), or anything at all without repair.
// With MARA_FUZZ_HDF5=1 in the environment the structure is changed and repaired as well, to see what the library lets
// pass to us: run that with -fork=1 -ignore_crashes=1 -ignore_timeouts=1 and look at what is not in the library.

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "io/hash.h"
#include "io/hdf5_file.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);
/// What the library loses of its own when it refuses a file is not ours.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace mara::fuzz {

/// An intact file to start from, and what is where in it. Files of different seeds differ in length.
struct Seed {
  std::string bytes;
  std::vector<io::ByteRange> contents;
  struct Checksum {
    io::ByteRange of;
    size_t at;     // where it stands
    bool as_text;  // 16 digits; else 8 bytes, little-endian
  };
  std::vector<Checksum> checksums;

  /// The value of an attribute, which stands behind its name and its shape (a scalar's: version 1, no axes).
  io::ByteRange value(const std::string& name, const std::string& bytes_of_value) const {
    const std::string shape("\1\0\0\0\0\0\0\0", 8);
    const size_t begin = bytes.find(shape + bytes_of_value, bytes.find(name + '\0'));
    MARA_CHECK(begin != std::string::npos, "fuzz: attribute ", name, " is not where it should be in the seed");
    const int64_t first = static_cast<int64_t>(begin + shape.size());
    return {first, first + static_cast<int64_t>(bytes_of_value.size())};
  }
  void add_attribute(const std::string& name, const std::string& text) { contents.push_back(value(name, text)); }
  void add_attribute(const std::string& name, int64_t number) {
    contents.push_back(value(name, {reinterpret_cast<const char*>(&number), sizeof number}));
  }
};

namespace detail {

constexpr size_t kLengthAt = 16, kHashAt = 24, kRangesAt = 32, kBlockHashAt = 504;  // of the guard's block

inline uint64_t number_at(const std::string& bytes, size_t at) {
  uint64_t value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}
inline void set_number(std::string& bytes, size_t at, uint64_t value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

inline void repair_block(std::string& bytes) { set_number(bytes, kBlockHashAt, io::xxh3(bytes.data(), kBlockHashAt)); }

/// Of an unchanged guard: everything it names.
inline void repair_all(std::string& bytes, const Seed& seed) {
  for (const Seed::Checksum& checksum : seed.checksums) {
    const uint64_t hash =
        io::xxh3(bytes.data() + checksum.of.begin, static_cast<size_t>(checksum.of.end - checksum.of.begin));
    if (checksum.as_text) {
      bytes.replace(checksum.at, 16, io::hash_text(hash));
    } else {
      set_number(bytes, checksum.at, hash);
    }
  }
  set_number(bytes, kLengthAt, bytes.size());
  io::Xxh3 hash;
  size_t at = io::kGuardBytes;
  for (uint64_t i = 0; i < number_at(bytes, kRangesAt); ++i) {
    const size_t begin = number_at(bytes, kRangesAt + 8 + 16 * i);
    hash.update(bytes.data() + at, begin - at);
    at = number_at(bytes, kRangesAt + 16 + 16 * i);
  }
  hash.update(bytes.data() + at, bytes.size() - at);
  set_number(bytes, kHashAt, hash.digest());
  repair_block(bytes);
}

/// Changes bytes [begin, end) without moving others.
inline void mutate_in_place(std::string& bytes, size_t begin, size_t end) {
  std::string piece = bytes.substr(begin, end - begin);
  const size_t size = LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(piece.data()), piece.size(), piece.size());
  bytes.replace(begin, size, piece, 0, size);
}

}  // namespace detail

/// What a target's LLVMFuzzerCustomMutator does. An input that is not of a seed's length becomes a seed, so an empty
/// corpus will do.
inline size_t mutate_guarded(const std::vector<Seed>& seeds, uint8_t* data, size_t size, size_t max_size,
                             unsigned random_seed) {
  std::minstd_rand random(random_seed);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  const auto give = [&](const std::string& bytes) {
    if (bytes.size() > max_size) return size;
    std::memcpy(data, bytes.data(), bytes.size());
    return bytes.size();
  };
  const Seed* seed = nullptr;
  for (const Seed& candidate : seeds) {
    if (candidate.bytes.size() != size) continue;
    MARA_CHECK(seed == nullptr, "fuzz: two seeds have ", size, " bytes");
    seed = &candidate;
  }
  if (seed == nullptr) return give(seeds[below(seeds.size())].bytes);

  // The contents of the input in the structure of the seed, which a change without repair may have damaged.
  const bool any_structure = std::getenv("MARA_FUZZ_HDF5") != nullptr;
  std::string bytes = seed->bytes;
  const auto take = [&](io::ByteRange range) {
    std::memcpy(bytes.data() + range.begin, data + range.begin, static_cast<size_t>(range.end - range.begin));
  };
  for (const io::ByteRange& range : seed->contents) take(range);
  if (any_structure) take({io::kGuardBytes, static_cast<int64_t>(size)});

  switch (below(8)) {
    case 0:  // anything, no repair
      return LLVMFuzzerMutate(data, size, max_size);
    case 1:  // the guard
      detail::repair_all(bytes, *seed);
      detail::mutate_in_place(bytes, 8 + 8 * below(5), detail::kBlockHashAt - 8 * below(58));
      detail::repair_block(bytes);
      return give(bytes);
    default:
      if (any_structure && below(2) == 0) {
        const size_t begin = io::kGuardBytes + below(size - io::kGuardBytes - 8);
        detail::mutate_in_place(bytes, begin, begin + 1 + below(8));
      } else {
        const io::ByteRange range = seed->contents[below(seed->contents.size())];
        const size_t begin = static_cast<size_t>(range.begin), end = static_cast<size_t>(range.end);
        const size_t first = below(2) == 0 ? begin : begin + below(end - begin);
        detail::mutate_in_place(bytes, first, std::min(end, first + 1 + below(16)));
      }
      // Now and then the checksums inside stay as they are, so that the readers' own comparison is reached.
      detail::repair_all(bytes, below(4) == 0 ? Seed{} : *seed);
      return give(bytes);
  }
}

}  // namespace mara::fuzz
