#pragma once
// Shards to read, files to tokenize.

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/token_source.h"
#include "temporary_folder.h"

namespace mara::data {

inline const Tokenizer& bytes() {
  static const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer("bytes");
  return *tokenizer;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

/// Token i of a text in which equal windows are rare.
inline int32_t noise(int64_t i) { return static_cast<int32_t>((i * 7919 + i / 251 * 31) % 256); }

/// One document of `tokens` - 1 tokens and its separator, as shards <prefix>-*.h5.
inline void write_shards(const std::filesystem::path& folder, const std::string& prefix, int64_t tokens,
                         int64_t shard_tokens = int64_t{1} << 40) {
  ShardWriter writer(folder, prefix, bytes(), "noise", shard_tokens);
  std::vector<int32_t> ids(static_cast<size_t>(tokens - 1));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = noise(static_cast<int64_t>(i));
  writer.append(ids);
  writer.end_document();
  writer.finish();
}

inline std::vector<int32_t> read_all(const ShardReader& shard) {
  std::vector<int32_t> out(static_cast<size_t>(shard.tokens()));
  shard.read(0, out);
  return out;
}

/// The message of the Error that `call` throws.
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

inline void expect_parts(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << "\n in: " << text;
}

}  // namespace mara::data
