#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "train/loaded_model.h"

namespace mara::weights {

/// A line of token ids.
struct Sequence {
  int64_t line = 0;  // 1-based
  std::vector<int32_t> ids;
};

/// A text file of ids between spaces, a sequence a line; blank lines are left out. Throws Error naming line and column
/// for what is no id of the recipe's vocabulary, and for a line longer than the recipe's sequences.
std::vector<Sequence> read_sequences(const std::filesystem::path& path, const train::Recipe& recipe);

/// Writes "logits.<line>" (L, V) f32, V the padded vocabulary, and "ids.<line>" (L) i32 of every sequence to a
/// safetensors file, one sequence at a time.
void write_logits(const train::LoadedModel& loaded, const std::vector<Sequence>& sequences,
                  const std::filesystem::path& to, bool force);

}  // namespace mara::weights
