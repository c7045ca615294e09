#pragma once

#include <string>
#include <vector>

#include "config/fields.h"
#include "data/token_stream.h"

namespace mara::data {

/// The recipe's `data:` mapping: token shards to learn from.
struct DataConfig {
  std::vector<std::string> train, valid, test;
  std::vector<int64_t> weights;
  int64_t length = 256;
  std::string tokenizer = "bytes";

  void fields(config::Fields& f);
  /// How a user changes a list of shards: "--set data.valid=[...]".
  static std::string option_of(const std::string& key);

  /// Opens the shards. All of `train` is one source, or with weights each entry is one.
  TokenStream stream(uint64_t seed, int64_t batch) const;
};

}  // namespace mara::data
