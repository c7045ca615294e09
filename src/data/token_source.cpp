#include "data/token_source.h"

#include <glob.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "io/hash.h"

namespace mara::data {
namespace {

std::vector<std::string> files_of(const std::string& pattern, const std::string& option) {
  glob_t found{};
  const int result = glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  std::vector<std::string> files(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  MARA_CHECK(result == 0, "data: no file is named ", pattern,
             "; make token shards with 'mara data tokenize', or name others with ", option);
  std::sort(files.begin(), files.end());  // glob sorts by locale
  return files;
}

void check_tokenizer(const ShardReader& shard, const Tokenizer& tokenizer) {
  const ShardInfo& info = shard.info();
  MARA_CHECK(info.tokenizer == tokenizer.name() && info.tokenizer_xxh3 == io::hash_text(tokenizer.hash()) &&
                 info.vocabulary == tokenizer.vocabulary() && info.separator == tokenizer.separator(),
             shard.path().string(), ": tokens of '", tokenizer.name(), "' are required (", tokenizer.vocabulary(),
             " ids, hash ", io::hash_text(tokenizer.hash()), "), these are of '", info.tokenizer, "' (",
             info.vocabulary, " ids, hash ", info.tokenizer_xxh3, "); set data.tokenizer, or tokenize the text again");
}

}  // namespace

TokenSource::TokenSource(const std::vector<std::string>& patterns, const Tokenizer& tokenizer,
                         const std::string& option)
    : starts_{0} {
  for (const std::string& pattern : patterns) {
    for (const std::string& file : files_of(pattern, option)) {
      const ShardReader& shard = shards_.emplace_back(file);
      check_tokenizer(shard, tokenizer);
      starts_.push_back(starts_.back() + shard.tokens());
    }
  }
}

size_t TokenSource::shard_of(int64_t token) const {
  return static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), token) - starts_.begin()) - 1;
}

void TokenSource::prefetch(int64_t first, int64_t count) const {
  const size_t shard = shard_of(first);
  shards_[shard].prefetch(first - starts_[shard], std::min(count, starts_[shard + 1] - first));
}

void TokenSource::read(int64_t first, std::span<int32_t> out) const {
  MARA_ASSERT(first >= 0 && first + static_cast<int64_t>(out.size()) <= tokens());
  size_t shard = shard_of(first);
  while (!out.empty()) {
    const auto count = std::min(out.size(), static_cast<size_t>(starts_[shard + 1] - first));
    shards_[shard].read(first - starts_[shard], out.first(count));
    out = out.subspan(count);
    first = starts_[++shard];
  }
}

void TokenSource::window(int64_t first, std::span<int32_t> ids, std::span<int32_t> targets) const {
  read(first, ids);
  std::memcpy(targets.data(), ids.data() + 1, (ids.size() - 1) * sizeof(int32_t));
  read(first + static_cast<int64_t>(ids.size()), targets.last(1));
}

uint64_t TokenSource::hash() const {
  io::Xxh3 hash;
  for (const ShardReader& shard : shards_) {
    const int64_t tokens = shard.tokens();
    hash.update(&tokens, sizeof tokens);
    hash.update(shard.checksums().data(), shard.checksums().size() * sizeof(uint64_t));
  }
  return hash.digest();
}

void segments(std::span<const int32_t> ids, int32_t separator, std::span<int32_t> out) {
  int32_t segment = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    out[i] = segment;
    segment += ids[i] == separator;
  }
}

}  // namespace mara::data
