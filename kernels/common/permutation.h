#pragma once
// Shuffling without a stored permutation: the image of an index is computed when it is asked for.

#include <bit>
#include <cstdint>

#include "kernels/common/philox.h"

namespace mara {
namespace detail {

/// A permutation of [0, 4^half_bits): a Feistel network (any function of one half, added to the other, can be undone)
/// whose round function is Philox. Four rounds are enough in theory (Luby and Rackoff, 1988); few bits want more.
inline uint64_t feistel(uint64_t key, uint64_t tweak, uint64_t value, int half_bits) {
  constexpr uint32_t kRounds = 6;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t left = value >> half_bits, right = value & mask;
  for (uint32_t round = 0; round < kRounds; ++round) {
    const philox::Block block = philox::block(
        key, {round, static_cast<uint32_t>(right), static_cast<uint32_t>(tweak), static_cast<uint32_t>(tweak >> 32)});
    const uint64_t mixed = (left ^ block[0]) & mask;
    left = right;
    right = mixed;
  }
  return left << half_bits | right;
}

}  // namespace detail

/// The image of `value` in [0, count) under a pseudo-random permutation of [0, count), one for every (key, tweak).
inline uint64_t permuted(uint64_t key, uint64_t tweak, uint64_t value, uint64_t count) {
  const int half_bits = (std::bit_width(count - 1) + 1) / 2;
  // Walking the cycle until it is back in range gives a permutation of [0, count); under 4 steps on average.
  do {
    value = detail::feistel(key, tweak, value, half_bits);
  } while (value >= count);
  return value;
}

}  // namespace mara
