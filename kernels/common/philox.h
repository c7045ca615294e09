#pragma once
// Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): a counter-based generator.
// Four 32-bit numbers are a pure function of a 64-bit key and a 128-bit counter; host and device draw the same.

#include <array>
#include <cstdint>

namespace mara {

/// What random numbers are for; part of the key, so that two uses of one seed never share a stream.
enum class Purpose : uint32_t { initial_value = 1, dropout = 2, task = 3, order = 4, sampling = 5 };

namespace philox {

using Block = std::array<uint32_t, 4>;

constexpr Block block(uint64_t key, Block counter) {
  uint32_t key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// The key of (seed, purpose). Bijective in the seed for each purpose.
constexpr uint64_t key(uint64_t seed, Purpose purpose) {
  return (seed + 0x9E3779B97F4A7C15u * static_cast<uint64_t>(purpose)) * 0xD1342543DE82EF95u;
}

/// Uniform in [0, 1), multiples of 2^-24: exact in f32.
constexpr float uniform(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

/// Uniform in [0, 1), multiples of 2^-53: exact in f64.
constexpr double uniform_f64(uint32_t high, uint32_t low) {
  return static_cast<double>((uint64_t{high} << 32 | low) >> 11) * 0x1p-53;
}

/// Uniform integer in [0, bound) by multiplication; bias below bound / 2^32.
constexpr uint32_t below(uint32_t bits, uint32_t bound) {
  return static_cast<uint32_t>((uint64_t{bits} * bound) >> 32);
}

}  // namespace philox

/// The uniform numbers that decide on elements 4 block to 4 block + 3 of dropout op `op` in step `step`. Counter:
///   {low 32 bits of block, low 32 bits of step, op, bits 32-47 of block << 16 ^ high 32 bits of step},
/// unique for steps below 2^48 and 2^50 elements. `key` is that of (seed, Purpose::dropout).
constexpr std::array<float, 4> dropout_uniforms(uint64_t key, int64_t step, uint32_t op, uint64_t block) {
  const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  const uint64_t time = static_cast<uint64_t>(step);
  const philox::Block bits =
      philox::block(key, {low(block), low(time), op, (low(block >> 32) << 16) ^ low(time >> 32)});
  return {philox::uniform(bits[0]), philox::uniform(bits[1]), philox::uniform(bits[2]), philox::uniform(bits[3])};
}

/// Consecutive draws from the stream of (seed, purpose, a, b): for host code that needs many numbers in order.
class PhiloxSequence {
 public:
  PhiloxSequence(uint64_t seed, Purpose purpose, uint64_t a, uint32_t b = 0)
      : key_(philox::key(seed, purpose)), counter_{0, static_cast<uint32_t>(a), static_cast<uint32_t>(a >> 32), b} {}

  uint32_t bits() {
    if (used_ == 4) {
      block_ = philox::block(key_, counter_);
      ++counter_[0];
      used_ = 0;
    }
    return block_[used_++];
  }
  uint32_t below(uint32_t bound) { return philox::below(bits(), bound); }
  float uniform() { return philox::uniform(bits()); }
  double uniform_f64() {
    const uint32_t high = bits();
    return philox::uniform_f64(high, bits());
  }

 private:
  uint64_t key_;
  philox::Block counter_;
  philox::Block block_{};
  int used_ = 4;
};

}  // namespace mara
