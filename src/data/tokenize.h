#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace mara::data {

struct TokenizeOptions {
  std::vector<std::filesystem::path> files;
  std::string tokenizer = "bytes";
  std::filesystem::path out;  // a new folder
  int64_t shard_tokens = int64_t{1} << 27;
  double valid_fraction = 0;       // of the documents, chosen by their hash, or
  double valid_tail = 0;           // the last part of every file
  std::string document_separator;  // empty: a file is a document; else each piece of it between these is
  bool force = false;              // move an existing folder aside
};

struct TokenizeReport {
  struct Split {
    int64_t documents = 0, tokens = 0, shards = 0;
  };
  Split train, valid;
  int64_t bytes = 0;                                   // of text, separators between documents left out
  std::vector<std::filesystem::path> empty, repeated;  // files left out: without text, or given before by any name
  std::filesystem::path moved_aside;                   // the earlier folder, if there was one
};

/// Turns files into shards out/train-*.h5 and out/valid-*.h5. Any bytes will do; documents without any are left out.
/// The folder appears when it is complete. With valid_fraction the same text lands on the same side whatever else is
/// tokenized, so copies of a document never stand on both. `progress`, if given, is called now and then with the bytes
/// done of those there are. Throws Error for what cannot be read, for an `out` that exists, and where a split would
/// have no document.
TokenizeReport tokenize(const TokenizeOptions& options,
                        const std::function<void(int64_t done, int64_t total)>& progress = {});

}  // namespace mara::data
