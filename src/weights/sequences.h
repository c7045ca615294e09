#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace mara::weights {

/// A line of token ids.
struct Sequence {
  int64_t line = 0;  // 1-based
  std::vector<int32_t> ids;
};

/// A text file of ids between spaces, a sequence a line; blank lines are left out. Throws Error naming line and column
/// for what is no id below `vocabulary`, for a line of more than `length` ids, and for more than 10,000 sequences.
std::vector<Sequence> read_sequences(const std::filesystem::path& path, int64_t vocabulary, int64_t length);

}  // namespace mara::weights
