#pragma once

#include <span>
#include <vector>

#include "data/token_source.h"

namespace mara::data {

/// Which tokens a training step reads: a pure function of (seed, step, rank, world size).
///
/// A source of n tokens is cut into floor(n / L) - 1 windows of L + 1 tokens, neighbours sharing one, from a start in
/// [0, L) that is another one every epoch, so that no token is always left out and windows differ between epochs. An
/// epoch is a permutation of the windows, never stored. Documents stand in the stream as in the shards, each ended by
/// its separator.
///
/// Several sources take turns with integer weights w_s: of every W = sum of w_s samples in a row exactly w_s are of
/// source s, each at its turn the one that is furthest behind (Megatron-LM's rule, in integers).
///
/// Sample numbers step B to step B + B - 1 make a step. Rank r of P takes the r-th of P equal parts, so the set of a
/// step does not depend on P.
class TokenStream {
 public:
  /// Empty `weights`: 1 each. Throws Error for a source of fewer than 2 L tokens.
  TokenStream(std::vector<TokenSource> sources, const std::vector<int64_t>& weights, uint64_t seed, int64_t length,
              int64_t batch);

  int64_t length() const { return length_; }
  int64_t batch() const { return batch_; }
  const std::vector<TokenSource>& sources() const { return sources_; }
  /// Of the tokens of all sources.
  uint64_t hash() const;

  struct Sample {
    size_t source = 0;
    int64_t first = 0;  // token of the source
    bool operator==(const Sample&) const = default;
  };
  /// The sample at `position` >= 0 of the endless stream.
  Sample sample(int64_t position) const;

  /// The part of `step` that is `rank`'s of `world`, which must divide the batch: (batch / world, L) each.
  void fill(int64_t step, int rank, int world, std::span<int32_t> ids, std::span<int32_t> targets) const;

 private:
  struct Turn {
    size_t source;
    int64_t before;  // turns of this source earlier in the round
  };

  std::vector<TokenSource> sources_;
  std::vector<int64_t> weights_;  // without a common factor
  std::vector<Turn> round_;       // W turns
  uint64_t key_;
  int64_t length_, batch_;
};

}  // namespace mara::data
