#include "data/data_config.h"

namespace mara::data {

void DataConfig::fields(config::Fields& f) {
  f.required("train", train, "token shards to train on, as paths with * and ?; `mara data tokenize` makes them");
  f.field("weights", weights, "samples taken from each entry of train in turn; left out: all are one text",
          config::at_least(1));
  f.required("valid", valid, "token shards for evaluation while training");
  f.field("test", test, "token shards for the last evaluation; left out: all of valid");
  f.field("length", length, "tokens per sample, L", config::at_least(1));
  f.field("tokenizer", tokenizer, "what the shards were made with", config::one_of(tokenizer_names()));
  f.require(!train.empty(), "train", "at least one path is required");
  f.require(!valid.empty(), "valid", "at least one path is required");
  f.require(weights.empty() || weights.size() == train.size(), "weights",
            detail::join({"one weight for each entry of train is required, ", train.size(), ", got ", weights.size()}));
}

std::string DataConfig::option_of(const std::string& key) { return "--set data." + key + "=[...]"; }

TokenStream DataConfig::stream(uint64_t seed, int64_t batch) const {
  const std::unique_ptr<Tokenizer> made = make_tokenizer(tokenizer);
  std::vector<TokenSource> sources;
  if (weights.empty()) {
    sources.emplace_back(train, *made, option_of("train"));
  } else {
    for (const std::string& pattern : train) sources.emplace_back(std::vector{pattern}, *made, option_of("train"));
  }
  return TokenStream(std::move(sources), weights, seed, length, batch);
}

}  // namespace mara::data
