#pragma once
// A run's state in one file: an HDF5 dataset per tensor under its full name with its xxh3, integers and texts as
// attributes, the resolved recipe as a text; behind the guard of io/guard.h.

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/state.h"
#include "io/atomic_file.h"
#include "io/hdf5_file.h"

namespace mara::checkpoint {

/// Describes a state; it must have an integer "step".
using StateFunction = std::function<void(StateVisitor&)>;

/// How good the model was, for keeping the best: greater is better.
struct Score {
  std::string name;
  double value = 0;
};

/// A copy of a state in host memory, which is allocated once.
class Snapshot {
 public:
  explicit Snapshot(const StateFunction& state);

  void capture(const StateFunction& state);
  int64_t step() const;
  /// Writes the last capture. Throws Failure, and Error for what AtomicFile refuses.
  void write(const std::filesystem::path& path, const std::string& recipe, const std::optional<Score>& score,
             io::Existing existing = io::Existing::replace) const;

 private:
  struct Entry {
    std::string name;
    Dtype dtype;
    Shape shape;
    int64_t offset = 0, bytes = 0;
  };
  std::vector<Entry> entries_;
  std::vector<std::pair<std::string, int64_t>> integers_;
  std::vector<std::pair<std::string, std::string>> same_;
  std::vector<std::byte> memory_;
};

/// An open checkpoint. Opening verifies every byte, loading every dataset's own checksum.
class Checkpoint {
 public:
  /// Throws Error naming the file and what is wrong with it.
  explicit Checkpoint(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  int64_t step() const { return step_; }
  /// The resolved recipe it was trained with.
  const std::string& recipe() const { return recipe_; }
  const std::optional<Score>& score() const { return score_; }

  /// Fills a whole state. All differences of names, shapes, dtypes are one Error, and then nothing was changed;
  /// numbers that are not finite are another.
  void load(const StateFunction& state) const;
  /// The same for a part of what is stored: the weights of a model (its ParameterArena), say.
  void load_part(const StateFunction& state) const;

  /// The file itself, for those who want single datasets.
  const io::Hdf5Reader& file() const { return file_; }

 private:
  io::Hdf5Reader file_;
  int64_t step_;
  std::string recipe_;
  std::optional<Score> score_;
};

/// The weights of a checkpoint into whatever has a state() that describes only them.
template <class Weights>
void load_weights(const Checkpoint& checkpoint, Weights& weights) {
  checkpoint.load_part([&](StateVisitor& v) { weights.state(v); });
}

/// A valid checkpoint in a folder.
struct Found {
  std::filesystem::path path;
  int64_t step = 0;
  std::optional<Score> score;
};

/// The valid checkpoints in a folder, by step, known by what is in them and not by their names; what is damaged is
/// warned of and left out. An absent folder is an empty one.
std::vector<Found> find_all(const std::filesystem::path& folder);

/// Whether there is any file that may be or have been a checkpoint.
bool holds_files(const std::filesystem::path& folder);

}  // namespace mara::checkpoint
