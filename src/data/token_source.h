#pragma once

#include <string>
#include <vector>

#include "data/shard.h"

namespace mara::data {

/// The tokens of several shards end to end, as one text.
class TokenSource {
 public:
  /// Opens the shards that `patterns` (paths with *, ? and [...]) name, in the order of the patterns, those of one
  /// pattern by name. `option` is how a user names others, such as "--set data.valid=[...]". Throws Error for a pattern
  /// without a file, and for shards of another tokenizer.
  TokenSource(const std::vector<std::string>& patterns, const Tokenizer& tokenizer, const std::string& option);

  const std::vector<ShardReader>& shards() const { return shards_; }
  int64_t tokens() const { return starts_.back(); }
  /// Tokens [first, first + out.size()).
  void read(int64_t first, std::span<int32_t> out) const;
  /// Asks the processor to fetch tokens that will be read soon; a hint, for those of one shard.
  void prefetch(int64_t first, int64_t count) const;
  /// A window of L + 1 tokens as what a model reads and what it should predict: L ids, and the token after each.
  void window(int64_t first, std::span<int32_t> ids, std::span<int32_t> targets) const;
  /// Of all tokens: whether two runs read the same text.
  uint64_t hash() const;

 private:
  size_t shard_of(int64_t token) const;

  std::vector<ShardReader> shards_;
  std::vector<int64_t> starts_;  // first token of each shard, then their sum
};

/// The number of separators before each token of a window: 0 in its first document, 1 in its second, ...
void segments(std::span<const int32_t> ids, int32_t separator, std::span<int32_t> out);

}  // namespace mara::data
