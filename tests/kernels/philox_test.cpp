#include "kernels/common/philox.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mara {
namespace {

// Known answers published with Random123.
TEST(Philox, KnownAnswers) {
  using philox::block, philox::Block;
  EXPECT_EQ(block(0, {0, 0, 0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(block(~uint64_t{0}, {~0u, ~0u, ~0u, ~0u}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(block(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformIsBelowOneAndBelowIsBelow) {
  EXPECT_EQ(philox::uniform(0), 0.0f);
  EXPECT_EQ(philox::uniform(~0u), 1 - 0x1p-24f);
  EXPECT_EQ(philox::below(~0u, 7), 6u);
  EXPECT_EQ(philox::below(0, 7), 0u);
  EXPECT_EQ(philox::below(0x80000000u, 10), 5u);
}

TEST(Philox, SequenceIsTheBlocksInOrder) {
  PhiloxSequence sequence(5, Purpose::task, 0x0000000700000003, 9);
  for (uint32_t i = 0; i < 3; ++i) {
    for (uint32_t bits : philox::block(philox::key(5, Purpose::task), {i, 3, 7, 9})) EXPECT_EQ(sequence.bits(), bits);
  }
}

TEST(Philox, SequencesOfOtherSeedsPurposesAndStreamsDiffer) {
  const uint32_t reference = PhiloxSequence(1, Purpose::task, 2, 3).bits();
  EXPECT_EQ(PhiloxSequence(1, Purpose::task, 2, 3).bits(), reference);
  EXPECT_NE(PhiloxSequence(2, Purpose::task, 2, 3).bits(), reference);
  EXPECT_NE(PhiloxSequence(1, Purpose::order, 2, 3).bits(), reference);
  EXPECT_NE(PhiloxSequence(1, Purpose::task, 3, 3).bits(), reference);
  EXPECT_NE(PhiloxSequence(1, Purpose::task, 2, 4).bits(), reference);
}

TEST(Philox, UniformHasTheMomentsOfItsDistribution) {
  PhiloxSequence sequence(3, Purpose::initial_value, 0);
  constexpr int kCount = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double u = sequence.uniform();
    sum += u;
    squares += u * u;
  }
  // Five standard deviations of the means.
  EXPECT_NEAR(sum / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
}

TEST(Philox, UniformOfTwoWordsFillsADouble) {
  EXPECT_EQ(philox::uniform_f64(0, 0), 0);
  EXPECT_EQ(philox::uniform_f64(~0u, ~0u), 1 - 0x1p-53);
  EXPECT_EQ(philox::uniform_f64(0, 1u << 11), 0x1p-53);
  EXPECT_EQ(philox::uniform_f64(1u << 31, 0), 0.5);
  PhiloxSequence doubles(3, Purpose::sampling, 0), words(3, Purpose::sampling, 0);
  for (int i = 0; i < 10; ++i) {
    const double drawn = doubles.uniform_f64();
    EXPECT_NEAR(drawn, words.uniform(), 0x1p-24);
    EXPECT_NE(drawn, std::floor(drawn * 0x1p24) * 0x1p-24);  // one word does not reach that far
    words.bits();
  }
}

// The layout of the counter is part of what a seed means: host, device and later versions must agree on it.
TEST(Philox, DropoutCounterLayout) {
  const uint64_t key = philox::key(11, Purpose::dropout);
  const auto expect_counter = [&](int64_t step, uint32_t op, uint64_t block, philox::Block counter) {
    const philox::Block bits = philox::block(key, counter);
    const auto drawn = dropout_uniforms(key, step, op, block);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(drawn[i], philox::uniform(bits[i]));
  };
  expect_counter(5, 6, 7, {7, 5, 6, 0});
  expect_counter(0x0000000900000005, 6, 0x0000000300000007, {7, 5, 6, (3u << 16) ^ 9u});
}

}  // namespace
}  // namespace mara
