#pragma once

#include <filesystem>
#include <vector>

#include "io/atomic_file.h"
#include "train/loaded_model.h"
#include "weights/sequences.h"

namespace mara::weights {

/// Writes "logits.<line>" (L, V) f32, V the padded vocabulary, and "ids.<line>" (L) i32 of every sequence to a
/// safetensors file, one sequence at a time. Throws Error for logits that are not finite; then nothing is written.
void write_logits(const train::LoadedModel& loaded, const std::vector<Sequence>& sequences,
                  const std::filesystem::path& to, io::Existing existing);

}  // namespace mara::weights
