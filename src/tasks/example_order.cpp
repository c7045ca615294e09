#include "tasks/example_order.h"

#include <bit>

#include "kernels/common/philox.h"

namespace mara::tasks {
namespace {

/// A permutation of [0, 4^half_bits): a Feistel network (any function of one half, added to the other, can be undone)
/// whose round function is Philox. Four rounds are enough in theory (Luby and Rackoff, 1988); few bits want more.
uint64_t feistel(uint64_t key, uint64_t epoch, uint64_t value, int half_bits) {
  constexpr uint32_t kRounds = 6;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t left = value >> half_bits, right = value & mask;
  for (uint32_t round = 0; round < kRounds; ++round) {
    const philox::Block block = philox::block(
        key, {round, static_cast<uint32_t>(right), static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32)});
    const uint64_t mixed = (left ^ block[0]) & mask;
    left = right;
    right = mixed;
  }
  return left << half_bits | right;
}

}  // namespace

int64_t example_at(uint64_t seed, int64_t position, int64_t examples) {
  if (examples == 0) return position;
  const uint64_t count = static_cast<uint64_t>(examples);
  const uint64_t key = philox::key(seed, Purpose::order), epoch = static_cast<uint64_t>(position) / count;
  const int half_bits = (std::bit_width(count - 1) + 1) / 2;
  // Walking the cycle until it is back in range gives a permutation of [0, examples); under 4 steps on average.
  uint64_t value = static_cast<uint64_t>(position) % count;
  do {
    value = feistel(key, epoch, value, half_bits);
  } while (value >= count);
  return static_cast<int64_t>(value);
}

}  // namespace mara::tasks
